#!/usr/bin/env bash
# Tests start.sh and hub-watch.sh with real NATS servers on loopback and a host that only
# pretends. Takes about 40 seconds. Needs NATS_SERVER, a nats-server binary, and python3.
set -euo pipefail
set -m

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${NATS_SERVER:?is not set: the path of a nats-server binary}"
work=$(mktemp -d)
failures=0
hub_pid=''
start_pid=''

cleanup() {
  local pid
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
read -r hub_port hub_leaf_port leaf_port monitor_port <<<"$(free_ports 4)"

# The pretended host: notes how it was called, and at TERM whether NATS still answered.
mkdir "$work/bin"
cat >"$work/bin/wasmcloud" <<'SH'
#!/usr/bin/env bash
echo "$$" >>"$WORK/pids"
printf '%s\n' "$@" >"$WORK/arguments"
env >"$WORK/environment"
goodbye() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$WASMCLOUD_NATS_PORT") 2>/dev/null; then
    echo "NATS answered" >>"$WORK/goodbye"
  else
    echo "NATS was gone" >>"$WORK/goodbye"
  fi
  [ -e "$WORK/ignore-term" ] || exit 0
}
trap goodbye TERM
sleep 600 &
echo "$!" >"$WORK/provider"
echo started >>"$WORK/starts"
while :; do sleep 0.1; done
SH
chmod +x "$work/bin/wasmcloud"
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
    WATCH_INTERVAL=1 HUB_WATCH_SPREAD=0 HUB_WATCH="$here/../nats/hub-watch.sh" \
    HOST_GRACE=2 NATS_GRACE=2 "$@" "$here/start.sh" >"$work/start.log" 2>&1 &
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
no_secret_passed_on() { ! grep -Eq '^NATS_(CREDS|CA|HUB_URL)=' "$work/environment"; }
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

echo "start.sh waits for the hub"
start_region NATS_CREDS="-----creds-----" NATS_CA=
check "while the leaf node runs" within 5 leaf_answers
check "without starting a host" still 1 ""
check "with credentials that only their owner reads" \
  test "$(stat -c %a "$work/run/hub.creds")" = 600
check "and that the leaf node is told of" grep -q 'credentials: .*hub.creds' "$work/run/remote.conf"
check "and stops when told to" finish

echo "start.sh starts the host once the hub is there"
start_region
start_hub
check "and only then" within 10 host_started 1
for label in cloud=fly.io region=fra fly_region=fra fly_app=resiliency-demo \
  fly_machine_id=148e21ea7d3089; do
  check "with label $label" labelled "$label"
done
check "telling its providers where they are" environment_has \
  "OTEL_RESOURCE_ATTRIBUTES=cloud.provider=fly.io,cloud.region=fra,host.id=148e21ea7d3089"
check "with JetStream at the hub" environment_has "WASMCLOUD_JS_DOMAIN=hub"
check "with the built-in HTTP server" environment_has \
  "WASMCLOUD_EXPERIMENTAL_FEATURES=builtin-http-server"
check "without handing on the secrets" no_secret_passed_on
check "and ends without an error on TERM" finish
check "having stopped the host while NATS still answered" \
  test "$(cat "$work/goodbye")" = "NATS answered"
check "leaving no leaf node" leaf_is_gone
check "leaving no provider" provider_gone

echo "start.sh ends with an error"
start_region
within 10 host_started 1 || fail "the host did not start"
kill -KILL "$(cat "$work/pids")"
check "when the host dies" ends 1
check "leaving no leaf node" leaf_is_gone
check "leaving no provider" provider_gone
start_region
within 10 host_started 1 || fail "the host did not start"
kill -KILL "$(leaf_pid)"
check "when the leaf node dies" ends 1
check "having told the host to stop" test -s "$work/goodbye"
check "leaving no host" gone "$(cat "$work/pids")"

echo "start.sh kills a host that ignores TERM"
start_region
within 10 host_started 1 || fail "the host did not start"
touch "$work/ignore-term"
check "and still ends" finish
check "leaving no host" gone "$(cat "$work/pids")"

echo "start.sh restarts the host"
start_region
within 10 host_started 1 || fail "the host did not start"
stop_hub
check "not while the hub is away" still 2 1
start_hub
check "when the hub comes back restarted" within 10 host_started 2
check "once" still 3 2
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
