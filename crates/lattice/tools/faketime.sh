#!/usr/bin/env bash
# Brings libfaketime, which shows a process another wall clock, for the tests of clocks that jump:
# as root on Debian or Ubuntu. Elsewhere it says what to install, and the tests say what they skip.
set -euo pipefail

. "$(dirname "$0")/debian.sh"

library() {
    first_file "${LIBFAKETIME:-}" /usr/lib/*/faketime/libfaketimeMT.so.1
}

if library >/dev/null; then
    echo "setup: $(library)"
    exit 0
fi
install_packages libfaketime
if ! library >/dev/null; then
    echo "setup: NO LIBFAKETIME: install the package libfaketime; the tests of jumping clocks will be skipped" >&2
fi
