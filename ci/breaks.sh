#!/usr/bin/env bash
# Breaks rules of presence, groups, epochs and gaps one at a time, and has the simulation
# and the conformance tests find each: ci/breaks.sh [-only expression] [-seeds 1000]. It takes a
# quarter of an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./internal/tools/breaks "$@"
