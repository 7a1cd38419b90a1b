#!/usr/bin/env bash
# Runs one region on one Fly Machine: Valkey, its store, and a NATS leaf node, then a wasmCloud
# host beside them.
#
# All three are this script's children. It
#   - starts the host once the leaf has reached the hub: a host does not start without JetStream.
#     It does not wait for Valkey to load its file: until then other regions' stores answer;
#   - restarts the host when hub-watch.sh says that it can no longer follow deployments;
#   - on TERM or INT stops the host first, so that it says goodbye over a NATS that still works,
#     then Valkey, which nobody writes to any more, and NATS last;
#   - ends with an error when a child dies, so that Fly restarts the Machine.
#
# From Fly: FLY_REGION, FLY_APP_NAME, FLY_MACHINE_ID.
# Secrets:  NATS_HUB_URL     leaf node URL of the hub, tls://host:7422
#           NATS_CREDS       text of a NATS credentials file; may be missing for a hub on loopback
#           NATS_CA          PEM of the hub's CA, where it is not a public one
#           VALKEY_PASSWORD  the one in the Kubernetes Secret valkey-auth: a link, and so its
#                            password, is the same in the whole lattice
# Settings: every WASMCLOUD_* variable goes to the host; those below have other defaults.
set -euo pipefail
# Each child in a process group of its own: a host's providers can be cleared away with it.
set -m
# Disowned as well, or the shell would report each child's end with its whole command line.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nats_server=${NATS_SERVER:-nats-server}
valkey_server=${VALKEY_SERVER:-valkey-server}
valkey_conf=${VALKEY_CONF:-$here/valkey.conf}
valkey_port=${VALKEY_PORT:-6379}
wasmcloud=${WASMCLOUD:-wasmcloud}
hub_watch=${HUB_WATCH:-$here/hub-watch.sh}
run_dir=${RUN_DIR:-/var/lib/region/run}
watch_interval=${WATCH_INTERVAL:-5}
# Together below fly.toml's kill_timeout.
host_grace=${HOST_GRACE:-15}
valkey_grace=${VALKEY_GRACE:-5}
nats_grace=${NATS_GRACE:-5}
export LEAF_PORT=${LEAF_PORT:-4222}
export LEAF_MONITOR_PORT=${LEAF_MONITOR_PORT:-8222}

valkey_pid=''
nats_pid=''
host_pid=''
stopping=''

log() { echo "start: $*" >&2; }
die() {
  log "$*"
  exit 1
}

require_environment() {
  local name
  for name in FLY_REGION FLY_APP_NAME FLY_MACHINE_ID NATS_HUB_URL VALKEY_PASSWORD; do
    [ -n "${!name:-}" ] || die "$name is not set"
  done
  case $NATS_HUB_URL in
    *[\"\\[:space:]]*) die "NATS_HUB_URL holds a character that no URL has" ;;
  esac
  case $NATS_HUB_URL in
    *://127.0.0.1:* | *://localhost:*) ;;
    *) [ -n "${NATS_CREDS:-}" ] || die "NATS_CREDS is not set; only a hub on loopback may do without" ;;
  esac
  case $VALKEY_PASSWORD in
    *[!A-Za-z0-9_.~-]*) die "VALKEY_PASSWORD has characters other than A-Z a-z 0-9 _ . ~ -" ;;
  esac
}

# Secrets go to files that only this user reads, and out of the environment, which the children
# would inherit.
write_leaf_config() {
  cp "$here/nats-leaf.conf" "$run_dir/nats-leaf.conf"
  printf 'url: "%s"\n' "$NATS_HUB_URL" >"$run_dir/remote.conf"
  if [ -n "${NATS_CREDS:-}" ]; then
    printf '%s\n' "$NATS_CREDS" >"$run_dir/hub.creds"
    printf 'credentials: "%s"\n' "$run_dir/hub.creds" >>"$run_dir/remote.conf"
  fi
  if [ -n "${NATS_CA:-}" ]; then
    printf '%s\n' "$NATS_CA" >"$run_dir/hub-ca.pem"
    printf 'tls { ca_file: "%s" }\n' "$run_dir/hub-ca.pem" >>"$run_dir/remote.conf"
  fi
  unset NATS_HUB_URL NATS_CREDS NATS_CA
}

# The settings of every region's store, and what differs here.
write_valkey_config() {
  {
    printf 'include "%s"\n' "$valkey_conf"
    printf 'bind 127.0.0.1\nport %s\n' "$valkey_port"
    printf 'requirepass %s\n' "$VALKEY_PASSWORD"
  } >"$run_dir/valkey.conf"
  unset VALKEY_PASSWORD
}

# True while the child has not ended. The shell reaps it, disowned or not, so a dead one is gone.
alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# stop NAME PID SECONDS: TERM, then KILL for whatever is left of its process group.
stop() {
  local name=$1 pid=$2 tenths=$(($3 * 10))
  if alive "$pid"; then
    kill -TERM "$pid" 2>/dev/null || true
    while alive "$pid" && [ "$tenths" -gt 0 ]; do
      sleep 0.1
      tenths=$((tenths - 1))
    done
    if alive "$pid"; then log "$name did not stop within $3 s and is killed"; fi
  fi
  [ -z "$pid" ] || kill -KILL -- "-$pid" 2>/dev/null || true
}

stop_all() {
  stop "the host" "$host_pid" "$host_grace"
  stop "Valkey" "$valkey_pid" "$valkey_grace"
  stop "the leaf node" "$nats_pid" "$nats_grace"
}

start_valkey() {
  "$valkey_server" "$run_dir/valkey.conf" &
  valkey_pid=$!
  disown "$valkey_pid"
}

start_leaf() {
  LEAF_NAME="leaf-$FLY_REGION-$FLY_MACHINE_ID" "$nats_server" -c "$run_dir/nats-leaf.conf" &
  nats_pid=$!
  disown "$nats_pid"
}

# Whether what the host needs still runs; says what does not.
servers_run() {
  if ! alive "$valkey_pid"; then
    log "Valkey died"
    return 1
  fi
  if ! alive "$nats_pid"; then
    log "the leaf node died"
    return 1
  fi
}

# One look at the hub, which also notes how it is. The verdict counts only once the host runs.
look_at_hub() {
  HUB_WATCH_MONITOR="http://127.0.0.1:$LEAF_MONITOR_PORT" \
    HUB_WATCH_STATE="$run_dir/hub-watch" \
    HUB_WATCH_ID="${HUB_WATCH_ID:-$FLY_MACHINE_ID}" \
    "$hub_watch"
}

# Until the hub is there, or the script is told to stop; fails when a server died meanwhile.
wait_for_hub() {
  local waited=0
  rm -rf "$run_dir/hub-watch"
  until look_at_hub && [ -s "$run_dir/hub-watch/hub" ]; do
    [ $((waited % 30)) -ne 0 ] || log "waiting for the hub"
    sleep 1
    waited=$((waited + 1))
    [ -z "$stopping" ] || return 0
    servers_run || return 1
  done
}

# Labels are how wadm places components and how providers know where they are, and which store is
# theirs; of the environment a provider is given nothing but OTEL_* and RUST_LOG. The store's
# password the host asks of the secrets backend.
start_host() {
  OTEL_RESOURCE_ATTRIBUTES="cloud.provider=fly.io,cloud.region=$FLY_REGION,host.id=$FLY_MACHINE_ID" \
    WASMCLOUD_NATS_HOST=127.0.0.1 \
    WASMCLOUD_NATS_PORT=$LEAF_PORT \
    WASMCLOUD_JS_DOMAIN=${WASMCLOUD_JS_DOMAIN:-hub} \
    WASMCLOUD_SECRETS_TOPIC=${WASMCLOUD_SECRETS_TOPIC:-wasmcloud.secrets} \
    WASMCLOUD_EXPERIMENTAL_FEATURES=${WASMCLOUD_EXPERIMENTAL_FEATURES:-builtin-http-server} \
    WASMCLOUD_HEARTBEAT_INTERVAL=${WASMCLOUD_HEARTBEAT_INTERVAL:-10} \
    "$wasmcloud" \
    --label cloud=fly.io \
    --label "region=$FLY_REGION" \
    --label "valkey=127.0.0.1:$valkey_port" \
    --label "fly_region=$FLY_REGION" \
    --label "fly_app=$FLY_APP_NAME" \
    --label "fly_machine_id=$FLY_MACHINE_ID" \
    ${FLY_PUBLIC_IP:+--label "fly_public_ip=$FLY_PUBLIC_IP"} &
  host_pid=$!
  disown "$host_pid"
  log "the host runs as process $host_pid"
}

supervise() {
  local passed=0
  while [ -z "$stopping" ]; do
    servers_run || return 1
    if ! alive "$host_pid"; then
      log "the host died"
      return 1
    fi
    sleep 1
    passed=$((passed + 1))
    if [ $((passed % watch_interval)) -eq 0 ] && ! look_at_hub; then
      log "restarting the host"
      stop "the host" "$host_pid" "$host_grace"
      host_pid=''
      wait_for_hub || return 1
      [ -n "$stopping" ] || start_host
    fi
  done
}

trap 'stopping=yes' TERM INT
trap stop_all EXIT

require_environment
umask 077
mkdir -p "$run_dir"
write_leaf_config
write_valkey_config
start_valkey
start_leaf
wait_for_hub || exit 1
if [ -z "$stopping" ]; then
  start_host
  supervise || exit 1
fi
log "stopping"
