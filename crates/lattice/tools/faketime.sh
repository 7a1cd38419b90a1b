#!/usr/bin/env bash
# Brings libfaketime, which shows a process another wall clock, for the tests of clocks that jump:
# as root on Debian or Ubuntu. Elsewhere it says what to install, and the tests say what they skip.
set -euo pipefail

library() {
    local found
    for found in "${LIBFAKETIME:-}" /usr/lib/*/faketime/libfaketimeMT.so.1; do
        [ -f "$found" ] && echo "$found" && return
    done
    return 1
}

if library >/dev/null; then
    echo "setup: $(library)"
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing libfaketime"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libfaketime; } >/dev/null || true
fi
if ! library >/dev/null; then
    echo "setup: NO LIBFAKETIME: install the package libfaketime; the tests of jumping clocks will be skipped" >&2
fi
