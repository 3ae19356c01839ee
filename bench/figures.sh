#!/usr/bin/env bash
# What Stats costs a delivery: figures.sh [rounds] [events]. It builds the benchmark of
# deliveries twice, the second time without figures (the build tag nofigures), runs both in
# turn, each first in every other round, and prints the medians. Clients and server share a
# process, and both builds the same clients. Let the machine do nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-15} events=${2:-300}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go test -c -o "$dir/with" .
go test -c -tags nofigures -o "$dir/without" .
: >"$dir/all"
for i in $(seq "$rounds"); do
	order="with without"
	((i % 2)) || order="without with"
	for build in $order; do
		"$dir/$build" -test.run - -test.bench 'BenchmarkDeliver$/./clients=100$/.' -test.benchtime "${events}x" |
			awk -v build="$build" '/ns\/delivery/ { for (i = 2; i <= NF; i++) if ($i ~ /\/delivery$/) print $1, $i, build, $(i - 1) }' >>"$dir/all"
	done
done
sort -k1,3 -k4,4n "$dir/all" | awk '
	{ key = $1 " " $2; name = key SUBSEP $3; n[name]++; value[name, n[name]] = $4; keys[key] }
	function median(name) { return n[name] % 2 ? value[name, (n[name] + 1) / 2] : (value[name, n[name] / 2] + value[name, n[name] / 2 + 1]) / 2 }
	END {
		for (key in keys) {
			a = median(key SUBSEP "with"); b = median(key SUBSEP "without")
			printf "%-50s with %8.0f  without %8.0f  %+.1f %%\n", key, a, b, 100 * (a - b) / b
		}
	}' | sort
