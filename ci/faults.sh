#!/usr/bin/env bash
# Breaks connections, processes and networks, and prints what was promised and
# what was measured: the short form, or with -full the figures of
# docs/reliability.md, which take more than an hour.
set -euo pipefail
cd "$(dirname "$0")/../internal/test/faulttest"

missing=()
for program in nginx haproxy caddy ip ss iptables; do
	PATH=$PATH:/usr/sbin command -v $program >/dev/null || missing+=($program)
done
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "=== Installing what breaks things: ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nginx-light haproxy caddy iproute2 iptables >/dev/null
fi

# Not with the race detector, which the other tests run with: it changes what is
# measured. Where something is missing, a test says so and is skipped.
PATH=$PATH:/usr/sbin go test -count=1 -timeout 3h "$@"
