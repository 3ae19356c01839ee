#!/usr/bin/env bash
# Runs the browser tests: a few minutes, and on a machine that is slow or busy as
# long as it takes there.
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v npm >/dev/null; then
	ci/npm.sh examples/react
	export REALTIME_REQUIRE_REACT=1
fi
if ci/postgres.sh; then
	export REALTIME_REQUIRE_POSTGRES=1 # otherwise its example is skipped
fi
cd internal/test/browsertest
REALTIME_REQUIRE_BROWSER=1 go test -vet=off -count=1 -timeout 40m "$@" ./...
