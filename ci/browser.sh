#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../internal/browsertest"
if command -v npm >/dev/null; then
	export REALTIME_REQUIRE_REACT=1 # ci/react.sh has installed it
fi
REALTIME_REQUIRE_BROWSER=1 go test -count=1 ./...
