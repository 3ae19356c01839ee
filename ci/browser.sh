#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/../internal/browsertest"
REALTIME_REQUIRE_BROWSER=1 go test -count=1 ./...
