package main

import (
	"flag"
	"testing"

	"github.com/maravilla-realtime/realtime/tsgen"
)

// types are what the page may rely on.
var types = tsgen.Schema{
	Channels: map[string]tsgen.Channel{
		"team:{name}": {Presence: profile{}},
		"talk:{name}": {Message: tsgen.ByType{"say": say{}, "cheer": cheer{}}},
	},
	Events: []tsgen.Event{{Resource: namespace, Type: "card.done", Data: card{}}},
	Types:  []tsgen.Type{tsgen.Enum(free, busy), tsgen.Enum(heart, star, smile)},
}

var update = flag.Bool("update", false, "write src/types.ts")

// TestTypes keeps the page's types those of Go; go generate rewrites them.
func TestTypes(t *testing.T) {
	const file = "src/types.ts"
	if *update {
		if err := tsgen.WriteFile(file, types); err != nil {
			t.Fatal(err)
		}
	}
	if err := tsgen.Check(file, types); err != nil {
		t.Error(err)
	}
}
