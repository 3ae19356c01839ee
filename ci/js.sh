#!/usr/bin/env bash
# Checks, tests and builds the browser SDK, and that what is committed is what is
# built.
set -euo pipefail
cd "$(dirname "$0")/.."

(cd client/js && npm ci --no-audit --no-fund --silent && npm run --silent check)
tests=$(mktemp -d)
trap 'rm -rf "$tests"' EXIT
go run ./internal/tools/buildjs -test "$tests"
node --test "$tests"/*.js

if [ -n "$(git status --porcelain -- client/js/dist)" ]; then
	git --no-pager diff --stat -- client/js/dist
	git status --short -- client/js/dist
	echo "client/js/dist is not what the sources build: commit it"
	[ "${CI:-}" != true ] || exit 1
fi
