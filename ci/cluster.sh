#!/usr/bin/env bash
# Breaks clusters of real processes and the engines below them, and prints what was
# promised and what was measured: the short form, or with -full the figures of
# docs/reliability.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# Where there is no Redis or Postgres, a test says so and is skipped; with CI=true it fails.
ci/redis.sh || true
ci/postgres.sh || true
cd internal/test/clusterfaults

# Not with the race detector, which the other tests run with: it changes what is
# measured, and each of a dozen processes would run with it.
go test -vet=off -count=1 -timeout 6h "$@"
