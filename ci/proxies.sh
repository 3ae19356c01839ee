#!/usr/bin/env bash
# Succeeds if there are the proxies to test with, and what breaks networks, after
# installing what it can.
set -euo pipefail

need() {
	missing=()
	for program in nginx haproxy caddy ip ss iptables; do
		PATH=$PATH:/usr/sbin command -v $program >/dev/null || missing+=($program)
	done
	[ ${#missing[@]} = 0 ]
}

need && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
echo "=== Installing what breaks things: ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nginx-light haproxy caddy iproute2 iptables >/dev/null
need
