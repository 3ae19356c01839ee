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

logs=$(mktemp -d)
lanes=()

# stop ends the lanes, with all that they have started.
stop() {
	trap '' HUP INT TERM
	if [ ${#lanes[@]} -gt 0 ]; then
		kill -- "${lanes[@]/#/-}" || true
		sleep 2 # servers under test stop in order
		kill -KILL -- "${lanes[@]/#/-}" || true
	fi 2>/dev/null
	rm -rf "$logs"
}
trap stop EXIT
trap 'echo "INTERRUPTED"; exit 130' HUP INT TERM

# alone runs a command while the other lane runs none with it.
alone() {
	until mkdir "$logs/alone" 2>/dev/null; do sleep 0.1; done
	"$@"
	rmdir "$logs/alone"
}

report() {
	printf '\n=== %s: %s after %d s\n' "$1" "$2" "$3"
	cat "$4"
}

# step runs a check of a lane. A check that fails does not keep the others from running.
step() {
	local name=$1 began=$SECONDS result=passed
	local log="$logs/$name"
	shift
	alone echo "... $name"
	"$@" >"$log" 2>&1 || { result=FAILED && echo "$name" >>"$logs/failed"; }
	alone report "$name" $result $((SECONDS - began)) "$log"
}

# First what the lanes share: installed programs, and what is built of TypeScript and
# embedded in Go.
if ci/redis.sh; then
	export REALTIME_REQUIRE_REDIS=1
else
	skip "tests with Redis: need redis-server or valkey-server (apt-get install redis-server)"
fi
postgres=yes npm=yes chromium=yes
ci/postgres.sh || postgres=
[ $postgres ] || skip "tests with Postgres: need initdb (apt-get install postgresql), or REALTIME_POSTGRES=/directory/of/it"
ci/proxies.sh || skip "faults of proxies and networks: need nginx, haproxy, caddy, iproute2 and iptables"
ci/chromium.sh || chromium=
[ $chromium ] || skip "browser tests: need Chromium (apt-get install chromium), or REALTIME_BROWSER=/path/to/it"
command -v npm >/dev/null || npm=
if [ $npm ]; then
	step "TypeScript: packages, and builds for Go" ci/sdk.sh
else
	skip "TypeScript: needs Node.js with npm"
fi

# computing has the steps that keep the cores busy.
computing() {
	step "Go: format, vet, staticcheck" ci/lint.sh
	step "Go: tests, every module" ci/go.sh
	[ $npm ] || return 0
	step "TypeScript: types, tests, build" ci/js.sh
	step "TypeScript: tests in each Node.js" ci/node.sh
	step "React example: types, build" ci/react.sh
}

# waiting has those with processes, networks and browsers, which mostly wait. They wait
# at the machine's pace (internal/pace), so that the other lane makes them slow, not red.
# One runs at a time.
waiting() {
	step "Faults" ci/faults.sh
	step "Faults of clusters" ci/cluster.sh
	[ ! $postgres ] || step "Go: tests with Postgres" ci/db.sh
	[ ! $chromium ] || step "Browser tests" ci/browser.sh
}

set -m # a lane is a process group
computing </dev/null &
lanes+=($!)
waiting </dev/null &
lanes+=($!)
set +m
for lane in "${lanes[@]}"; do
	wait "$lane" || echo "a lane, which ended early" >>"$logs/failed"
done
lanes=()

echo
if [ -e "$logs/failed" ]; then
	sed 's/^/FAILED: /' "$logs/failed"
fi
if [ ${#skipped[@]} -gt 0 ]; then
	printf 'skipped: %s\n' "${skipped[@]}"
	if [ "${CI:-}" = true ]; then
		echo "FAILED: nothing may be skipped in CI"
		exit 1
	fi
fi
[ ! -e "$logs/failed" ] || exit 1
echo "All checks that ran have passed."
