package main

import (
	"go/parser"
	"go/token"
	"os"
	"testing"
)

// Each breach is one of the code as it is.
func TestBreachesApply(t *testing.T) {
	t.Chdir("../../..")
	names := make(map[string]bool)
	for _, b := range breaches {
		broken, err := b.broken()
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), b.file, broken, 0); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
		if names[b.name] || b.old == b.new {
			t.Errorf("%q is listed twice, or changes nothing", b.name)
		}
		names[b.name] = true
	}
	if _, err := os.Stat("ci/breaks.sh"); err != nil {
		t.Error(err)
	}
}
