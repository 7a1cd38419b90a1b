#!/usr/bin/env bash
# Brings Chromium and its driver for the browser tests where this can be done without asking: as
# root on Debian or Ubuntu. Elsewhere it says what to install, and the tests say what they skip.
set -euo pipefail

. "$(dirname "$0")/debian.sh"

if command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome; } >/dev/null; then
    echo "setup: $(chromedriver --version | cut -d' ' -f1,2)"
    exit 0
fi
install_packages chromium chromium-driver
if ! command -v chromedriver >/dev/null; then
    echo "setup: NO CHROMIUM: install the packages chromium and chromium-driver; the browser tests will be skipped" >&2
fi
