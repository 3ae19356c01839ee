#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(git ls-files --cached --others --exclude-standard '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted with gofmt:\n%s\n' "$unformatted"
	exit 1
fi

staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
while read -r module; do
	(cd "$module" && GOWORK=off go mod tidy -diff && go vet ./... && go run "$staticcheck" ./...)
done < <(ci/modules.sh)

# The benchmark of the figures' cost builds without them.
go vet -tags nofigures . ./internal/metric
