#!/usr/bin/env bash
# Runs the tests of the browser SDK in each Node.js that it supports, which npm
# installs. Their own WebSockets, and that of the package `ws`, differ in how they
# fail.
set -euo pipefail
cd "$(dirname "$0")/.."

ci/npm.sh client/js ci/nodes
cd client/js
go run ../../internal/tools/buildjs -test .test
for version in 20 22 24; do
	node="../../ci/nodes/node_modules/node$version/bin/node"
	[[ $("$node" --version) = v$version.* ]] || { echo "no Node.js $version: is there a binary for this machine?"; exit 1; }
	echo "Node.js $("$node" --version)"
	if ! out=$("$node" --test --test-reporter=tap .test/*.test.mjs 2>&1); then
		echo "$out"
		exit 1
	fi
	grep -E '^# (tests|pass|fail)' <<<"$out"
done
