#!/bin/sh
# Says whether the wasmCloud host beside this leaf node has to be restarted: exit 0, leave it
# alone; exit 1, restart it. Run it every few seconds; it looks once and returns.
#
# A 1.x host follows the lattice's links and configuration through JetStream consumers on the
# hub, and never makes new ones. The hub forgets them when it restarts, and 30 s after the link
# to it was cut. From then on the host serves as before but no deployment reaches it, and only
# a restart mends that. So the host is restarted once the hub is back
#   - under another name: a hub without `server_name` has a new one at every start;
#   - after the link was down for as long as HUB_WATCH_AWAY_LIMIT seconds.
# Never while the hub is away: a host does not start without it.
#
# Hosts everywhere see the hub come back at once. Each waits a time of its own, below
# HUB_WATCH_SPREAD seconds, so that regions restart one after another. That is a spread, not a
# lock: with many hosts two may still overlap.
#
# The state directory must be new for every start of the host.
set -u

monitor=${HUB_WATCH_MONITOR:-http://127.0.0.1:8222}
state=${HUB_WATCH_STATE:-/tmp/hub-watch}
identity=${HUB_WATCH_ID:-$(hostname)}
away_limit=${HUB_WATCH_AWAY_LIMIT:-25}
spread=${HUB_WATCH_SPREAD:-120}

fetch() {
  if command -v curl >/dev/null 2>&1; then
    curl --silent --fail --max-time 2 "$1"
  else
    wget -q -T 2 -O - "$1"
  fi
}

mkdir -p "$state" || exit 0
now=$(date +%s)
# The leaf's only remote is the hub. Empty while there is no link to it, or no leaf.
hub=$(fetch "$monitor/leafz" | tr -d ' \n\t' |
  sed -n 's/.*"leafs":\[{[^}]*"name":"\([^"]*\)".*/\1/p')

if [ -z "$hub" ]; then
  [ -s "$state/away" ] || echo "$now" >"$state/away"
  exit 0
fi

if [ ! -s "$state/hub" ]; then
  echo "$hub" >"$state/hub"
elif [ ! -s "$state/due" ]; then
  reason=
  known=$(cat "$state/hub")
  away=$(cat "$state/away" 2>/dev/null || echo "$now")
  if [ "$hub" != "$known" ]; then
    reason="the hub was restarted"
  elif [ $((now - away)) -ge "$away_limit" ]; then
    reason="the hub was out of reach for $((now - away)) s"
  fi
  if [ -n "$reason" ]; then
    delay=0
    if [ "$spread" -gt 0 ]; then
      delay=$(($(printf %s "$identity" | cksum | cut -d ' ' -f 1) % spread))
    fi
    echo $((now + delay)) >"$state/due"
    echo "hub-watch: $reason: the host is to restart in $delay s" >&2
  fi
fi
rm -f "$state/away"

if [ -s "$state/due" ] && [ "$now" -ge "$(cat "$state/due")" ]; then
  exit 1
fi
exit 0
