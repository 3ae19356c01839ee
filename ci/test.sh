#!/usr/bin/env bash
# Runs every check there is: ./ci/test.sh
#
# Installs what it needs where it can (npm packages; as root on Debian also
# Redis, Postgres, Chromium, nginx, haproxy, caddy, iproute2 and iptables), and says what
# it skips where it cannot. With CI=true a skip is a failure.
#
# Two lanes of steps run beside each other. What a step says comes in one piece when the
# step has ended, and the steps that failed are named at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

skipped=()
skip() {
	echo "SKIPPED: $1"
	skipped+=("$1")
}

dir=$(mktemp -d)
mkdir "$dir/running"
lanes=()

# stop ends the lanes, with all that they have started.
stop() {
	trap '' HUP INT TERM
	if [ ${#lanes[@]} -gt 0 ]; then
		kill -- "${lanes[@]/#/-}" || true
		sleep 2 # servers under test stop in order
		kill -KILL -- "${lanes[@]/#/-}" || true
	fi 2>/dev/null
	for log in "$dir"/running/*; do
		[ ! -e "$log" ] || report "${log##*/}: INTERRUPTED" "$log"
	done
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' HUP INT TERM

# alone runs a command while the other lane runs none with it.
alone() {
	until mkdir "$dir/alone" 2>/dev/null; do sleep 0.1; done
	"$@"
	rmdir "$dir/alone"
}

report() {
	printf '\n=== %s\n' "$1"
	cat "$2"
	rm "$2"
}

# step runs a check. One that fails does not keep the others from running.
step() {
	local name=$1 began=$SECONDS result=passed
	local log="$dir/running/$name"
	shift
	alone echo "... $name"
	"$@" >"$log" 2>&1 || { result=FAILED && echo "$name" >>"$dir/failed"; }
	alone report "$name: $result after $((SECONDS - began)) s" "$log"
}

# First what the lanes share: what is installed, and what is built of TypeScript and
# embedded in Go.
if ci/redis.sh; then
	export REALTIME_REQUIRE_REDIS=1
else
	skip "tests with Redis: need redis-server or valkey-server (apt-get install redis-server), or REALTIME_REDIS=/directory/of/it"
fi
if ! ci/postgres.sh; then
	no_postgres=1
	skip "tests with Postgres: need initdb (apt-get install postgresql), or REALTIME_POSTGRES=/directory/of/it"
fi
ci/proxies.sh || skip "faults of proxies and networks: need nginx, haproxy, caddy, iproute2 and iptables"
if ! ci/chromium.sh; then
	no_chromium=1
	skip "browser tests: need Chromium (apt-get install chromium), or REALTIME_BROWSER=/path/to/it"
fi
if command -v npm >/dev/null; then
	step "TypeScript: packages, and builds for Go" ci/sdk.sh
else
	no_npm=1
	skip "TypeScript: needs Node.js with npm"
fi

# computing has the steps that keep the cores busy.
computing() {
	step "Go: format, vet, staticcheck" ci/lint.sh
	step "Go: tests, every module" ci/go.sh
	[ ! "${no_npm:-}" ] || return 0
	step "TypeScript: types, build" ci/js.sh
	step "TypeScript: tests in each Node.js" ci/node.sh
	step "React example: types, build" ci/react.sh
}

# waiting has those with processes, networks and browsers, which mostly wait. They wait
# at the machine's pace (internal/test/pace), so that the other lane makes them slow, not red.
# One runs at a time.
waiting() {
	step "Faults" ci/faults.sh
	step "Faults of clusters" ci/cluster.sh
	[ "${no_postgres:-}" ] || step "Go: tests with Postgres" ci/db.sh
	[ "${no_chromium:-}" ] || step "Browser tests" ci/browser.sh
}

set -m # a lane is a process group
computing </dev/null &
lanes+=($!)
waiting </dev/null &
lanes+=($!)
set +m
for lane in "${lanes[@]}"; do
	wait "$lane" || echo "a lane, which ended early" >>"$dir/failed"
done
lanes=()

echo
if [ -e "$dir/failed" ]; then
	sed 's/^/FAILED: /' "$dir/failed"
fi
if [ ${#skipped[@]} -gt 0 ]; then
	printf 'skipped: %s\n' "${skipped[@]}"
	if [ "${CI:-}" = true ]; then
		echo "FAILED: nothing may be skipped in CI"
		exit 1
	fi
fi
[ ! -e "$dir/failed" ] || exit 1
echo "All checks that ran have passed."
