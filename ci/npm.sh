#!/usr/bin/env bash
# Installs npm packages where they are not yet as the lock file says: ci/npm.sh DIR...
set -euo pipefail
cd "$(dirname "$0")/.."

for dir in "$@"; do
	# npm writes this file when all is installed.
	[ "$dir/node_modules/.package-lock.json" -nt "$dir/package-lock.json" ] ||
		npm ci --prefix "$dir" --no-audit --no-fund --loglevel error >/dev/null
done
