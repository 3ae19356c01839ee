#!/usr/bin/env bash
# Succeeds if there is a Redis or Valkey to test with, after installing one if it can.
# The tests start their own servers, and sentinels.
set -euo pipefail

have() {
	{ command -v redis-server || command -v valkey-server; } && { command -v redis-sentinel || command -v valkey-sentinel; }
}

have >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
echo "=== Installing Redis"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends redis-server redis-sentinel >/dev/null
have >/dev/null
