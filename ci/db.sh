#!/usr/bin/env bash
# Tests package db with a real Postgres.
set -euo pipefail
cd "$(dirname "$0")/../internal/postgrestest"
REALTIME_REQUIRE_POSTGRES=1 go test -race -count=1 -timeout 20m ./...
