package main

import (
	"bytes"
	"go/format"
	"os"
	"testing"

	"github.com/a-h/templ"
	"github.com/a-h/templ/generator"
	"github.com/a-h/templ/parser/v2"
)

// The committed code is what go generate makes of the templates.
func TestGenerated(t *testing.T) {
	file, err := parser.Parse("views.templ")
	if err != nil {
		t.Fatal(err)
	}
	var code bytes.Buffer
	if _, err := generator.Generate(file, &code, generator.WithVersion(templ.Version()), generator.WithFileName("views.templ")); err != nil {
		t.Fatal(err)
	}
	want, err := format.Source(code.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("views_templ.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("views_templ.go is not what views.templ says: go generate .")
	}
}
