#!/usr/bin/env bash
# Brings Chromium and its driver for the browser tests where this can be done without asking: as
# root on Debian or Ubuntu. Elsewhere it says what to install, and the tests say what they skip.
set -euo pipefail

if command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome; } >/dev/null; then
    echo "setup: $(chromedriver --version | cut -d' ' -f1,2)"
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing chromium and chromium-driver"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium chromium-driver; } >/dev/null || true
fi
if ! command -v chromedriver >/dev/null; then
    echo "setup: NO CHROMIUM: install the packages chromium and chromium-driver; the browser tests will be skipped" >&2
fi
