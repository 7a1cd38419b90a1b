#!/bin/sh
# Starts Valkey with the password of VALKEY_PASSWORD, handed over on standard input: a command
# line is for everyone to read.
set -eu
case ${VALKEY_PASSWORD:-} in
  '')
    echo "VALKEY_PASSWORD is empty: the Secret valkey-auth has to hold a password" >&2
    exit 1
    ;;
  *[!A-Za-z0-9_.~-]*)
    echo "the password in the Secret valkey-auth has characters other than A-Z a-z 0-9 _ . ~ -" >&2
    exit 1
    ;;
esac
exec valkey-server "${VALKEY_CONF:-/etc/valkey/valkey.conf}" - <<EOF
requirepass $VALKEY_PASSWORD
EOF
