#!/bin/sh
# probe.sh ready: Valkey executes commands.
# probe.sh live:  Valkey answers at all; one that still loads its file is alive.
set -u
# The client takes the password from its environment; which variable depends on its version.
export VALKEYCLI_AUTH="$VALKEY_PASSWORD" REDISCLI_AUTH="$VALKEY_PASSWORD"
answer=$(timeout 3 valkey-cli -h 127.0.0.1 ping 2>&1)
case $1:$answer in
  ready:PONG | live:PONG | live:*LOADING* | live:*BUSY*) exit 0 ;;
esac
echo "valkey-cli ping: $answer" >&2
exit 1
