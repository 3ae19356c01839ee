package tsgen_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/tsgen"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.ts")

func TestGolden(t *testing.T) {
	const file = "testdata/golden.ts"
	if *update {
		if err := tsgen.WriteFile(file, schema()); err != nil {
			t.Fatal(err)
		}
	}
	if err := tsgen.Check(file, schema()); err != nil {
		t.Error(err)
	}
}

func TestDeterministic(t *testing.T) {
	first, err := tsgen.Generate(schema())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, _ := tsgen.Generate(schema()); !bytes.Equal(first, again) {
			t.Fatal("the same schema gave something else")
		}
	}
}

func TestEmptySchema(t *testing.T) {
	src, err := tsgen.Generate(tsgen.Schema{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"type Channels = {};", "type Presences = {};", "type Events = never;"} {
		if !strings.Contains(string(src), want) {
			t.Errorf("no %q in\n%s", want, src)
		}
	}
}

func TestNamesOfLocalTypes(t *testing.T) {
	type item struct{ A int }
	src, err := tsgen.Generate(tsgen.Schema{Channels: map[string]tsgen.Channel{"a": {Message: Page[item]{}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"interface Item {", "interface PageItem {", "items: Item[] | null;"} {
		if !strings.Contains(string(src), want) {
			t.Errorf("no %q in\n%s", want, src)
		}
	}
}

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "types.d.ts")
	s := tsgen.Schema{Channels: map[string]tsgen.Channel{"room:{id}": {Message: Chat{}}}}
	if err := tsgen.Check(file, s); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	if err := tsgen.WriteFile(file, s); err != nil {
		t.Fatal(err)
	}
	if err := tsgen.Check(file, s); err != nil {
		t.Error(err)
	}
	src, _ := os.ReadFile(file)
	if err := os.WriteFile(file, bytes.ReplaceAll(src, []byte("\n"), []byte("\r\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tsgen.Check(file, s); err != nil {
		t.Errorf("with the line ends of Windows: %v", err)
	}

	s.Channels["room:{id}"] = tsgen.Channel{Message: Typing{}}
	if err := tsgen.Check(file, s); err == nil || !strings.Contains(err.Error(), "stale from line 3 on") {
		t.Errorf("another schema: %v", err)
	}
	s.Channels["room:{id}"] = tsgen.Channel{}
	if err := tsgen.WriteFile(file, s); err == nil {
		t.Error("a bad schema was written")
	}
	if left, _ := os.ReadFile(file); len(left) == 0 {
		t.Error("a bad schema has emptied the file")
	}
}
