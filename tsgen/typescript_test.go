package tsgen_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/tsgen"
)

// tsc type-checks files, by name, beside the module of schema(). It skips the
// test where the compiler is not installed; ci/js.sh installs it, and sees to it
// that nothing is skipped.
func tsc(t *testing.T, files map[string]string) {
	t.Helper()
	var need [2]string
	for i, file := range []string{"node_modules/.bin/tsc", "lib/index.d.ts"} {
		need[i], _ = filepath.Abs("../client/js/" + file)
		if _, err := os.Stat(need[i]); err != nil {
			if os.Getenv("REALTIME_REQUIRE_TSC") != "" {
				t.Fatal(err)
			}
			t.Skip("needs the TypeScript compiler and the SDK's types: npm ci && npm run build in client/js")
		}
	}
	compiler, sdk := need[0], need[1]
	dir := t.TempDir()
	if err := tsgen.WriteFile(filepath.Join(dir, "types.ts"), schema()); err != nil {
		t.Fatal(err)
	}
	config, _ := json.Marshal(map[string]any{
		"compilerOptions": map[string]any{
			"target": "es2022", "module": "esnext", "moduleResolution": "bundler", "lib": []string{"es2022", "dom"}, "types": []string{},
			"strict": true, "exactOptionalPropertyTypes": true, "noUncheckedIndexedAccess": true, "verbatimModuleSyntax": true,
			"noEmit": true, "paths": map[string]any{"@maravilla-realtime/client": []string{sdk}},
		},
		"include": []string{"*.ts"},
	})
	files["tsconfig.json"] = string(config)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), compiler, "-p", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("tsc: %v\n%.4000s", err, out)
	}
}

// TestTypeScriptUse compiles what a page does with the module, and what it must not.
func TestTypeScriptUse(t *testing.T) {
	use, err := os.ReadFile("testdata/use.ts")
	if err != nil {
		t.Fatal(err)
	}
	tsc(t, map[string]string{"use.ts": strings.Replace(string(use), "./golden.js", "./types.js", 1)})
}

// TestTypeScriptValues has the compiler take random values as encoding/json
// encodes them for what the module declares, and refuse them when they lack a member
// that even the zero value has, or have one too many.
func TestTypeScriptValues(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var b strings.Builder
	b.WriteString("import type { Channels } from './types.js';\n")
	n := 0
	assign := func(channel string, value any) {
		src, err := json.Marshal(value)
		if err != nil {
			t.Fatalf("%s: %v", channel, err)
		}
		n++
		fmt.Fprintf(&b, "export const v%d: Channels[%q] = %s;\n", n, channel, src)
	}
	for _, channel := range slices.Sorted(maps.Keys(corpus)) {
		typ := reflect.TypeOf(corpus[channel])
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		for range 40 {
			v := reflect.New(typ)
			random(r, v.Elem(), 6)
			assign(channel, v.Elem().Interface())
			assign(channel, v.Interface()) // now the methods of pointers count
		}
		if typ.Kind() != reflect.Struct || channel == "when" {
			continue
		}
		small := reflect.New(typ)
		random(r, small.Elem(), 0)
		all := members(t, small.Interface())
		for _, name := range slices.Sorted(maps.Keys(members(t, reflect.Zero(typ).Interface()))) {
			if name == "odd" {
				continue // its zero value is there, but others may be missing
			}
			some := maps.Clone(all)
			delete(some, name)
			fmt.Fprintf(&b, "// @ts-expect-error: lacks %q\n", name)
			assign(channel, some)
		}
		assign(channel, all)
		all["one too many"] = json.RawMessage("1")
		b.WriteString("// @ts-expect-error: has one too many\n")
		assign(channel, all)
	}
	tsc(t, map[string]string{"values.ts": b.String()})
}

// members are those of the JSON object that v encodes as.
func members(t *testing.T, v any) map[string]json.RawMessage {
	t.Helper()
	src, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(src, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
