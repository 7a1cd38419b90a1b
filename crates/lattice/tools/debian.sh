# For the scripts beside it, which source it: what the machine's distribution has to bring.

first_file() { # PATH*: the first one that is a file
    local path
    for path in "$@"; do
        [ -f "$path" ] && echo "$path" && return
    done
    return 1
}

install_packages() { # PACKAGE*: where this can be done without asking, as root on Debian or Ubuntu
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    local names=$*
    echo "setup: installing ${names// / and }"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >/dev/null || true
}
