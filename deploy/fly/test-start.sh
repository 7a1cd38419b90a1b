#!/usr/bin/env bash
# Tests start.sh and hub-watch.sh with real NATS servers and a real Valkey on loopback, and a host
# that only pretends. Takes about 45 seconds. Needs NATS_SERVER and VALKEY_SERVER, binaries of
# nats-server and valkey-server, and python3.
set -euo pipefail
set -m

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${NATS_SERVER:?is not set: the path of a nats-server binary}"
: "${VALKEY_SERVER:?is not set: the path of a valkey-server binary}"
work=$(mktemp -d)
failures=0
hub_pid=''
start_pid=''

cleanup() {
  local pid
  # It ends its children; left alone they would outlive it.
  if [ -n "$start_pid" ] && kill -TERM "$start_pid" 2>/dev/null; then
    within 10 gone "$start_pid" || true
  fi
  for pid in $start_pid $hub_pid; do kill -KILL -- "-$pid" 2>/dev/null || true; done
  # What start.sh could not clear away when a test failed half way.
  if [ -f "$work/pids" ]; then
    while read -r pid; do kill -KILL -- "-$pid" 2>/dev/null || true; done <"$work/pids"
  fi
  rm -rf "$work"
}
trap cleanup EXIT

ok() { echo "  ok: $1"; }
fail() {
  echo "  FAILED: $1" >&2
  failures=$((failures + 1))
}
# check SENTENCE COMMAND...
check() {
  local sentence=$1
  shift
  if "$@"; then ok "$sentence"; else fail "$sentence"; fi
}
# within SECONDS COMMAND...: polls until the command succeeds.
within() {
  local tenths=$(($1 * 10))
  shift
  until "$@"; do
    [ "$tenths" -gt 0 ] || return 1
    tenths=$((tenths - 1))
    sleep 0.1
  done
}
# Ended; one that nobody has reaped yet counts as ended too.
gone() { [ ! -d "/proc/$1" ] || grep -q '^State:.*zombie' "/proc/$1/status" 2>/dev/null; }

free_ports() {
  python3 - "$1" <<'PY'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))
PY
}
read -r hub_port hub_leaf_port leaf_port monitor_port valkey_port <<<"$(free_ports 5)"
password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')

# The store's configuration as it is, but for the volume.
mkdir "$work/data"
sed "s#^dir .*#dir $work/data#" "$here/../k8s/base/valkey/valkey.conf" >"$work/valkey.conf"

# The pretended host: notes how it was called, and at TERM whether NATS and Valkey still answered.
mkdir "$work/bin"
cat >"$work/bin/wasmcloud" <<'SH'
#!/usr/bin/env bash
echo "$$" >>"$WORK/pids"
printf '%s\n' "$@" >"$WORK/arguments"
env >"$WORK/environment"
valkey=$(sed -n 's/^valkey=.*://p' "$WORK/arguments")
answered() {
  local how="was gone"
  if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then how=answered; fi
  echo "$1 $how"
}
goodbye() {
  { answered NATS "$WASMCLOUD_NATS_PORT" && answered Valkey "$valkey"; } >>"$WORK/goodbye"
  [ -e "$WORK/ignore-term" ] || exit 0
}
trap goodbye TERM
sleep 600 &
echo "$!" >"$WORK/provider"
echo started >>"$WORK/starts"
while :; do sleep 0.1; done
SH
chmod +x "$work/bin/wasmcloud"
# The real Valkey, whose arguments are noted: it changes what it shows of them when it runs.
cat >"$work/bin/valkey" <<SH
#!/usr/bin/env bash
printf '%s\n' "\$@" >"$work/valkey-arguments"
exec "$VALKEY_SERVER" "\$@"
SH
chmod +x "$work/bin/valkey"
# hub-watch.sh wants curl or wget, which a machine without either can borrow from Python.
if ! command -v curl >/dev/null 2>&1 && ! command -v wget >/dev/null 2>&1; then
  # shellcheck disable=SC2016 # for that script to expand, not for this one
  printf '#!/bin/sh\nfor url in "$@"; do :; done\nexec python3 -c %s "$url"\n' \
    "'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=2).read().decode())'" \
    >"$work/bin/curl"
  chmod +x "$work/bin/curl"
fi
export PATH="$work/bin:$PATH"

# start_hub [NAME]: without a name the hub has a new identity at every start, as ours has.
start_hub() {
  {
    [ -z "${1:-}" ] || echo "server_name: $1"
    echo "listen: \"127.0.0.1:$hub_port\""
    echo "leafnodes { listen: \"127.0.0.1:$hub_leaf_port\" }"
  } >"$work/hub.conf"
  "$NATS_SERVER" -c "$work/hub.conf" >>"$work/hub.log" 2>&1 &
  hub_pid=$!
  disown "$hub_pid"
}
stop_hub() {
  kill -KILL "$hub_pid" 2>/dev/null || true
  within 5 gone "$hub_pid"
  hub_pid=''
}

start_region() {
  rm -f "$work"/{arguments,environment,goodbye,starts,provider,ignore-term,pids}
  env WORK="$work" RUN_DIR="$work/run" \
    FLY_REGION=fra FLY_APP_NAME=resiliency-demo FLY_MACHINE_ID=148e21ea7d3089 \
    NATS_HUB_URL="nats-leaf://127.0.0.1:$hub_leaf_port" \
    LEAF_PORT="$leaf_port" LEAF_MONITOR_PORT="$monitor_port" \
    VALKEY_SERVER="$work/bin/valkey" VALKEY_CONF="$work/valkey.conf" \
    VALKEY_PORT="$valkey_port" VALKEY_PASSWORD="$password" \
    WATCH_INTERVAL=1 HUB_WATCH_SPREAD=0 HUB_WATCH="$here/../nats/hub-watch.sh" \
    HOST_GRACE=2 VALKEY_GRACE=2 NATS_GRACE=2 "$@" "$here/start.sh" >"$work/start.log" 2>&1 &
  start_pid=$!
}
# ends STATUS: start.sh ends within ten seconds, with that status.
ends() {
  local status=0
  within 10 gone "$start_pid" || return 1
  wait "$start_pid" || status=$?
  start_pid=''
  [ "$status" -eq "$1" ] || { echo "  status $status" >&2 && return 1; }
}
finish() {
  kill -TERM "$start_pid" 2>/dev/null || true
  ends "${1:-0}"
}
host_started() { [ "$(grep -c started "$work/starts" 2>/dev/null)" = "$1" ]; }
leaf_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$leaf_port") 2>/dev/null; }
leaf_is_gone() { ! leaf_answers; }
leaf_pid() { sed -n 's/^\[\([0-9]*\)\].*Starting nats-server.*/\1/p' "$work/start.log"; }
provider_gone() { gone "$(cat "$work/provider")"; }
said() { grep -q -- "$1" "$work/start.log"; }
no_secret_passed_on() {
  ! grep -Eq '^(NATS_(CREDS|CA|HUB_URL)|VALKEY_PASSWORD)=' "$work/environment"
}

valkey_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$valkey_port") 2>/dev/null; }
valkey_is_gone() { ! valkey_answers; }
valkey_pid() { sed -n 's/.*Valkey version=.* pid=\([0-9]*\),.*/\1/p' "$work/start.log"; }
valkey_is() { [ "$(valkey_pid)" = "$1" ] && ! gone "$1"; }
# ask COMMAND...: Valkey's answers, one a line.
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$valkey_port"
  printf '%s\r\n' "$@" QUIT >&3
  tr -d '\r' <&3
  exec 3<&-
}
# says COMMAND ANSWER [LINE]: with the password, in that line of the answers.
says() { [ "$(ask "AUTH $password" "$1" | sed -n "${3:-2}p")" = "$2" ]; }
configured() { says "CONFIG GET $1" "$2" 6; }
# Whether no child has the password on its command line or in its environment.
hidden() {
  local pid
  grep -q . "$work/valkey-arguments" || return 1
  ! grep -q "$password" "$work/valkey-arguments" || return 1
  for pid in "$(valkey_pid)" "$(leaf_pid)" $(cat "$work/pids" 2>/dev/null); do
    [ -r "/proc/$pid/environ" ] || return 1
    ! cat "/proc/$pid/cmdline" "/proc/$pid/environ" | tr '\0' ' ' | grep -q "$password" || return 1
  done
}
unsaid() { ! said "$1"; }
# in_order PATTERN PATTERN: start.log says the one, and the other after it.
in_order() {
  awk -v one="$1" -v two="$2" '$0 ~ one { first = 1 } first && $0 ~ two { both = 1 } END { exit !both }' \
    "$work/start.log"
}
labelled() { grep -qx -- "$1" "$work/arguments"; }
environment_has() { grep -qx -- "$1" "$work/environment"; }
still() { sleep "$1" && host_started "$2"; }

echo "start.sh refuses to start"
start_region FLY_REGION=
check "without a region" ends 1
check "and says so" said "FLY_REGION is not set"
start_region NATS_HUB_URL=tls://hub.example.com:7422
check "without credentials for a hub elsewhere" ends 1
start_region 'NATS_HUB_URL=nats-leaf://127.0.0.1:1" evil'
check "with a hub URL that would break out of the configuration" ends 1
start_region VALKEY_PASSWORD=
check "without the store's password" ends 1
start_region VALKEY_PASSWORD=$'a\nsave 1 1'
check "with one that would break out of the configuration" ends 1
check "without saying it" unsaid "save 1 1"
sed "s#^dir .*#dir $work/lost#" "$work/valkey.conf" >"$work/lost.conf"
start_region VALKEY_CONF="$work/lost.conf"
check "without the store's volume" ends 1
check "and says so" said "Valkey died"

echo "start.sh waits for the hub"
start_region NATS_CREDS="-----creds-----" NATS_CA=
check "while the leaf node runs" within 5 leaf_answers
check "and Valkey does" within 5 valkey_answers
check "without starting a host" still 1 ""
check "with credentials that only their owner reads" \
  test "$(stat -c %a "$work/run/hub.creds")" = 600
check "and that the leaf node is told of" grep -q 'credentials: .*hub.creds' "$work/run/remote.conf"
check "with the store's password where only its owner reads it" \
  test "$(stat -c %a "$work/run/valkey.conf")" = 600
check "and stops when told to" finish
check "leaving no Valkey" valkey_is_gone

echo "start.sh starts the host once the hub is there"
start_region
start_hub
check "and only then" within 10 host_started 1
for label in cloud=fly.io region=fra "valkey=127.0.0.1:$valkey_port" fly_region=fra \
  fly_app=resiliency-demo fly_machine_id=148e21ea7d3089; do
  check "with label $label" labelled "$label"
done
check "telling its providers where they are" environment_has \
  "OTEL_RESOURCE_ATTRIBUTES=cloud.provider=fly.io,cloud.region=fra,host.id=148e21ea7d3089"
check "with JetStream at the hub" environment_has "WASMCLOUD_JS_DOMAIN=hub"
check "with the secrets backend" environment_has "WASMCLOUD_SECRETS_TOPIC=wasmcloud.secrets"
check "with the built-in HTTP server" environment_has \
  "WASMCLOUD_EXPERIMENTAL_FEATURES=builtin-http-server"
check "without handing on the secrets" no_secret_passed_on

echo "the store"
check "asks for the password" test "$(ask PING | head -n 1)" = "-NOAUTH Authentication required."
check "takes it" says PING +PONG
check "is the only one to be told, by its file" hidden
check "listens on loopback alone" configured bind 127.0.0.1
check "writes an append-only file" configured appendonly yes
check "and does so before it answers" configured appendfsync always
check "on the volume" configured dir "$work/data"
check "never evicts" configured maxmemory-policy noeviction
check "counts" says "INCRBY visits 41" :41

echo "start.sh stops"
check "without an error on TERM" finish
check "the host while NATS and Valkey still answer" \
  test "$(sort "$work/goodbye" | paste -sd ,)" = "NATS answered,Valkey answered"
check "then Valkey, then NATS" in_order "now ready to exit, bye bye" "Server Exiting"
check "leaving no leaf node" leaf_is_gone
check "leaving no Valkey" valkey_is_gone
check "leaving no provider" provider_gone
check "having logged no password" unsaid "$password"

echo "start.sh ends with an error"
start_region
within 10 host_started 1 || fail "the host did not start"
kill -KILL "$(cat "$work/pids")"
check "when the host dies" ends 1
check "leaving no leaf node" leaf_is_gone
check "leaving no Valkey" valkey_is_gone
check "leaving no provider" provider_gone
start_region
within 10 host_started 1 || fail "the host did not start"
check "(the store still has its count)" within 5 says "INCR visits" :42
kill -KILL "$(valkey_pid)"
check "when Valkey dies" ends 1
check "having told the host to stop" test -s "$work/goodbye"
check "leaving no host" gone "$(cat "$work/pids")"
check "leaving no leaf node" leaf_is_gone
start_region
within 10 host_started 1 || fail "the host did not start"
kill -KILL "$(leaf_pid)"
check "when the leaf node dies" ends 1
check "having told the host to stop" test -s "$work/goodbye"
check "leaving no host" gone "$(cat "$work/pids")"
check "leaving no Valkey" valkey_is_gone

echo "start.sh kills a host that ignores TERM"
start_region
within 10 host_started 1 || fail "the host did not start"
touch "$work/ignore-term"
check "and still ends" finish
check "leaving no host" gone "$(cat "$work/pids")"

echo "start.sh restarts the host"
start_region
within 10 host_started 1 || fail "the host did not start"
check "(the store still has its count after kill -9)" within 5 says "INCR visits" :43
store=$(valkey_pid)
stop_hub
check "not while the hub is away" still 2 1
start_hub
check "when the hub comes back restarted" within 10 host_started 2
check "once" still 3 2
check "and the host alone" valkey_is "$store"
check "and goes on" finish
stop_hub
start_hub named-hub
start_region HUB_WATCH_AWAY_LIMIT=8
within 10 host_started 1 || fail "the host did not start"
stop_hub
start_hub named-hub
check "not after a short cut" still 4 1
stop_hub
sleep 10
start_hub named-hub
check "after a long one" within 10 host_started 2
check "and goes on" finish

if [ "$failures" -gt 0 ]; then
  echo "test-start: $failures failed; the last log of start.sh:" >&2
  cat "$work/start.log" >&2
  exit 1
fi
echo "test-start: all passed"
