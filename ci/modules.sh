#!/usr/bin/env bash
# Lists the directories of the Go modules, the core first.
set -euo pipefail
cd "$(dirname "$0")/.."
go list -m -f '{{.Dir}}'
