#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(git ls-files --cached --others --exclude-standard '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted with gofmt:\n%s\n' "$unformatted"
	exit 1
fi

while read -r module; do
	(cd "$module" && GOWORK=off go mod tidy -diff)
done < <(ci/modules.sh)

# "work" is all packages of all modules.
go vet work
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 work

# The benchmark of the figures' cost builds without them.
go vet -tags nofigures . ./internal/metric
