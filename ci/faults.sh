#!/usr/bin/env bash
# Breaks connections, processes and networks, and prints what was promised and
# what was measured: the short form, or with -full the figures of
# docs/reliability.md, which take more than an hour.
set -euo pipefail
cd "$(dirname "$0")/.."

# Where something is missing, a test says so and is skipped; with CI=true it fails.
ci/proxies.sh || true
cd internal/test/faulttest

# Not with the race detector, which the other tests run with: it changes what is
# measured.
PATH=$PATH:/usr/sbin go test -vet=off -count=1 -timeout 3h "$@"
