#!/usr/bin/env bash
# Tests package db with a real Postgres: ci/db.sh [-full]. The full form takes
# 10,000 transactions and 20 kills.
set -euo pipefail
cd "$(dirname "$0")/../internal/postgrestest"
REALTIME_REQUIRE_POSTGRES=1 go test -race -count=1 -timeout 20m . "$@"
