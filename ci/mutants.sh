#!/usr/bin/env bash
# Breaks the code in one place at a time, and lists the breaks that no test notices:
# ci/mutants.sh [-only ring,session,…] [-sample n] [-most 3s] [-n] [-report]. All of it takes
# hours; a run that was stopped goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
go run ./internal/tools/mutants "$@"
