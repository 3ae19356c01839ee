#!/usr/bin/env bash
# What Stats costs a delivery: figures.sh [targets]. It builds the benchmark twice, the
# second time without figures (the build tag nofigures), has a server of each run, and
# measures them in turn, some 100 ms each, until the median of the differences is known to
# half of a per cent or so. It counts the CPU of the servers only. Let the machine do
# nothing else; some five minutes.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/with" .
go build -tags nofigures -o "$dir/without" .
"$dir/with" -against "$dir/without" -targets "${1:-ours-sse,ours-ws,ours-ws-shards}"
