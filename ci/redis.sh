#!/usr/bin/env bash
# Succeeds if there is a Redis or Valkey to test with, after installing what it can:
# Redis, and Valkey where the distribution has it (Debian from 13 on). The tests run
# with each that is there, and start their own servers and sentinels. REALTIME_REDIS names
# the directory of the programs of another one, which the tests then run with instead.
set -euo pipefail

[ -z "${REALTIME_REDIS:-}" ] || exit 0

have() {
	command -v "$1-server" && command -v "$1-sentinel"
} >/dev/null

install() {
	echo "=== Installing ${1^}"
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$1-server" "$1-sentinel" >/dev/null
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	have redis || have valkey || { apt-get update -qq && install redis; }
	have valkey || ! apt-cache show valkey-server valkey-sentinel >/dev/null 2>&1 || install valkey || echo "Valkey cannot be installed; testing with Redis only"
fi
have redis || have valkey
