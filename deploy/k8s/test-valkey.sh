#!/usr/bin/env bash
# Tests the store's start script, configuration and probes with a real Valkey on loopback.
# Takes a few seconds. Needs VALKEY_SERVER, a valkey-server binary, and python3.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/base/valkey
: "${VALKEY_SERVER:?is not set: the path of a valkey-server binary}"
work=$(mktemp -d)
failures=0
pid=''
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

check() {
  local sentence=$1
  shift
  if "$@"; then
    echo "  ok: $sentence"
  else
    echo "  FAILED: $sentence" >&2
    failures=$((failures + 1))
  fi
}
refused() { ! "$@" >/dev/null 2>&1; }

port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir "$work/bin" "$work/data"
ln -s "$(command -v "$VALKEY_SERVER")" "$work/bin/valkey-server"
PATH="$work/bin:$PATH"
# The configuration as it is, but for where it listens and keeps its file.
sed -e "s#^port .*#port $port#" -e 's#^bind .*#bind 127.0.0.1#' -e "s#^dir .*#dir $work/data#" \
  "$here/valkey.conf" >"$work/valkey.conf"

# Becomes the start script, in the shell that calls it.
become() {
  export VALKEY_CONF="$work/valkey.conf" VALKEY_PASSWORD="$1"
  exec sh "$here/start.sh"
}
start() (become "$1")
# ask COMMAND...: the answers, one a line.
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$port"
  printf '%s\r\n' "$@" QUIT >&3
  tr -d '\r' <&3
  exec 3<&-
}
answers() { (ask PING) 2>/dev/null | grep -q .; }
start_in_background() {
  become "$password" >>"$work/log" 2>&1 &
  pid=$!
  # Of Valkey itself, and of no shell around it: it is killed and looked at by this.
  until grep -q valkey-server "/proc/$pid/comm" 2>/dev/null || ! kill -0 "$pid" 2>/dev/null; do
    sleep 0.1
  done
  local tenths=100
  until answers; do
    tenths=$((tenths - 1))
    if [ "$tenths" -eq 0 ] || ! kill -0 "$pid" 2>/dev/null; then
      echo "test-valkey: Valkey did not start:" >&2
      cat "$work/log" >&2
      exit 1
    fi
    sleep 0.1
  done
}
says() { [ "$(ask "AUTH $password" "$1" | sed -n "${3:-2}p")" = "$2" ]; }
configured() { says "CONFIG GET $1" "$2" 6; }
hidden() { ! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "$password"; }

password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')

echo "the store refuses"
check "an empty password" refused start ''
check "a password that could break out of its line" refused start 'a b"'

start_in_background
echo "the store"
check "asks for the password" test "$(ask PING | head -n 1)" = "-NOAUTH Authentication required."
check "takes it" says PING +PONG
check "does not show it on its command line" hidden
check "writes an append-only file" configured appendonly yes
check "and does so before it answers" configured appendfsync always
check "never evicts" configured maxmemory-policy noeviction
check "has a limit" configured maxmemory 209715200
check "counts" says "INCRBY visits 41" :41
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
start_in_background
check "still has the count after kill -9" says "INCR visits" :42

echo "the probes"
cat >"$work/bin/valkey-cli" <<'SH'
#!/bin/sh
[ "$VALKEYCLI_AUTH$REDISCLI_AUTH" = "hushhush" ] || echo "no password"
case "$*" in *hush*) echo "the password is on the command line" ;; esac
echo "$ANSWER"
SH
chmod +x "$work/bin/valkey-cli"
probe() { ANSWER="$2" VALKEY_PASSWORD=hush sh "$here/probe.sh" "$1" 2>/dev/null; }
check "find a Valkey that answers ready" probe ready PONG
check "and alive" probe live PONG
loading="LOADING Valkey is loading the dataset in memory"
check "find one that loads its file alive" probe live "$loading"
check "but not ready" refused probe ready "$loading"
gone="Could not connect to Valkey at 127.0.0.1:6379: Connection refused"
check "find one that does not answer dead" refused probe live "$gone"
check "and not ready" refused probe ready "$gone"
check "take no wrong password for an answer" refused probe live "NOAUTH Authentication required."

[ "$failures" -eq 0 ] || { echo "test-valkey: $failures failed" >&2 && exit 1; }
echo "test-valkey: all passed"
