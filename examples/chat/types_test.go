package main

import (
	"flag"
	"testing"

	"github.com/maravilla-realtime/realtime/tsgen"
)

// types are what the page may rely on.
var types = tsgen.Schema{Channels: map[string]tsgen.Channel{
	"room:{name}": {Message: message{}, Presence: struct {
		Name string `json:"name"`
	}{}},
}}

var update = flag.Bool("update", false, "write page/types.d.ts")

// TestTypes keeps the page's types those of Go; go generate rewrites them.
func TestTypes(t *testing.T) {
	const file = "page/types.d.ts"
	if *update {
		if err := tsgen.WriteFile(file, types); err != nil {
			t.Fatal(err)
		}
	}
	if err := tsgen.Check(file, types); err != nil {
		t.Error(err)
	}
}
