#!/usr/bin/env bash
# Fuzzes every decoder: ci/fuzz.sh [executions of each target, default 10000000]
#
# The full figure takes hours; CI runs the corpus only, as go test does.
set -euo pipefail
cd "$(dirname "$0")/.."

for package in $(go list ./... ./postgres/...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "=== $package $target"
		go test -run - -fuzz "^$target\$" -fuzztime "${1:-10000000}x" "$package"
	done
done
