#!/usr/bin/env bash
# Runs every check there is: ./ci/test.sh
#
# Installs what it needs where it can (npm packages; as root on Debian also
# Redis, Postgres, Chromium, nginx, haproxy, caddy, iproute2 and iptables), and says what
# it skips where it cannot. With CI=true a skip is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

skipped=()
skip() {
	echo "SKIPPED: $1"
	skipped+=("$1")
}

step() {
	echo
	echo "=== $1"
	shift
	"$@"
}

step "Go: format, vet, staticcheck" ci/lint.sh
if ci/redis.sh; then
	export REALTIME_REQUIRE_REDIS=1
else
	skip "tests with Redis: need redis-server or valkey-server (apt-get install redis-server)"
fi
step "Go: tests, every module" ci/go.sh

if ci/postgres.sh; then
	step "Go: tests with Postgres" ci/db.sh
else
	skip "tests with Postgres: need initdb (apt-get install postgresql), or REALTIME_POSTGRES=/directory/of/it"
fi

step "Faults" ci/faults.sh
step "Faults of clusters" ci/cluster.sh

if command -v npm >/dev/null; then
	step "TypeScript: types, tests, build" ci/js.sh
	step "TypeScript: tests in each Node.js" ci/node.sh
	step "React example: types, build" ci/react.sh
else
	skip "TypeScript: needs Node.js with npm"
fi

if ci/chromium.sh; then
	step "Browser tests" ci/browser.sh
else
	skip "browser tests: need Chromium (apt-get install chromium), or REALTIME_BROWSER=/path/to/it"
fi

echo
if [ ${#skipped[@]} -gt 0 ]; then
	printf 'skipped: %s\n' "${skipped[@]}"
	if [ "${CI:-}" = true ]; then
		echo "FAILED: nothing may be skipped in CI"
		exit 1
	fi
fi
echo "All checks that ran have passed."
