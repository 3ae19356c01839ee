#!/usr/bin/env bash
# Installs the npm packages, and builds what Go embeds of TypeScript: the browser SDK,
# and the page of the React example.
set -euo pipefail
cd "$(dirname "$0")/.."
ci/npm.sh client/js ci/nodes ci/typescripts examples/react
go run ./internal/tools/buildjs
go run ./internal/tools/buildpage examples/react
