#!/usr/bin/env bash
# Tests what needs a real Postgres, which is package db with it, module postgres, and its
# example: ci/db.sh [-full]. The full form takes 10,000 transactions, and kills.
set -euo pipefail
cd "$(dirname "$0")/.."
for module in internal/test/postgrestest postgres; do
	(cd "$module" && REALTIME_REQUIRE_POSTGRES=1 go test -vet=off -race -count=1 -timeout 20m . "$@")
done
(cd examples/postgres && REALTIME_REQUIRE_POSTGRES=1 go test -vet=off -race -count=1 -timeout 20m ./...)
