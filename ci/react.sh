#!/usr/bin/env bash
# Checks and builds the React example, and that the bundle that is committed is
# what is built.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/npm.sh examples/react
cd examples/react
npm run --silent check
npm run --silent build

if [ -n "$(git status --porcelain -- page/app.js)" ]; then
	echo "examples/react/page/app.js is not what the sources build: commit it"
	[ "${CI:-}" != true ] || exit 1
fi
