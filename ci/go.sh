#!/usr/bin/env bash
# Tests every module with the race detector. Browser tests, the fault harnesses and
# the tests with Postgres have their own steps, and ci/lint.sh vets the code.
set -euo pipefail
cd "$(dirname "$0")/.."

while read -r module; do
	(cd "$module" && GOWORK=off go build -o /dev/null ./...) # as users build it
done < <(ci/modules.sh)

# "work" is all packages of all modules.
go list work | grep -vE '/(browsertest|clusterfaults|faulttest|postgrestest|postgres)(/|$)' |
	xargs go test -vet=off -race -timeout 20m

# With all connections driven by goroutines of their own, and by shards wherever they can,
# which adds little to the default.
go test -vet=off -race . -args -hijack 1
go test -vet=off . -args -hijack 3

# All seeds of the simulation: with the race detector, above, it tries a fifth of them.
go test -vet=off ./internal/test/simtest

# Users of the library must not inherit what only its tests and tools need.
allowed='^(github.com/(coder/websocket|gobwas/glob|google/go-cmp)|golang.org/x/(sync|time))$'
extra=$(GOWORK=off go list -m -f '{{if not .Main}}{{.Path}}{{end}}' all | grep -Ev "$allowed|^$" || true)
if [ -n "$extra" ]; then
	printf 'the core module depends on more than it should:\n%s\n' "$extra"
	exit 1
fi
