#!/usr/bin/env bash
# Succeeds if there is a browser to test with, after installing one if it can.
set -euo pipefail

have() {
	[ -n "${REALTIME_BROWSER:-}" ] || command -v chromium || command -v chromium-browser || command -v google-chrome
}

have >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
echo "=== Installing Chromium"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
have >/dev/null
