#!/usr/bin/env bash
# Checks and builds the browser SDK: its types, its size, the code in its documents, the
# package that npm would publish, as apps see it, and that what is committed is what is
# built. ci/node.sh runs its tests.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/npm.sh client/js ci/typescripts
cd client/js
npm run --silent check
npm run --silent build
npm run --silent docs
node test/consumers/run.mjs
REALTIME_REQUIRE_TSC=1 go test -vet=off -count=1 -run TypeScript ../../tsgen
npm run --silent lint

if [ -n "$(git status --porcelain -- dist)" ]; then
	git --no-pager diff --stat -- dist
	git status --short -- dist
	echo "client/js/dist is not what the sources build: commit it"
	[ "${CI:-}" != true ] || exit 1
fi
