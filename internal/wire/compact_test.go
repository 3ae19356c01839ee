package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// isCompact is true of what encoding/json leaves as it is, and of nothing else.
func checkCompact(t *testing.T, data []byte) {
	t.Helper()
	var b bytes.Buffer
	want := json.Compact(&b, data) == nil && bytes.Equal(b.Bytes(), data)
	if got := isCompact(data); got != want && (got || depth(data) <= mostNested) {
		t.Fatalf("%q: %v", data, got)
	}
}

var compactSeeds = []string{
	``, `{}`, `[]`, `[[],{}]`, `{"a":1}`, `{"a":1,"b":[true,false,null]}`, `{"a":{"b":{"c":[[1],[2,3]]}},"":""}`,
	`{`, `[`, `]`, `{]`, `[}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[1,]`, `[,1]`, `{1:2}`, `{a:1}`, `[1 ]`, ` 1`, `1 `, `{"a": 1}`, "[\n]",
	`1`, `-1`, `0`, `-0`, `-`, `01`, `+1`, `1.`, `.1`, `1.5`, `1.5e3`, `1e`, `1e+`, `1E-9`, `1e+05`, `1.e1`, `0x1`, `1-`, `12a`, `--1`, `-a`,
	`true`, `tru`, `truex`, `nul`, `null1`, `fals`, `False`, `NaN`, `1 2`, `1,2`, `{}{}`, `""""`,
	`"`, `"a`, `"\"`, `"\\"`, `"\"a`, `"\"a"`, `"\/\b\f\n\r\t"`, `"\x"`, `"\u12"`, `"\u12Ef"`, `"\u12eg"`, `"\ud800"`, `"\u123`, `"\`,
	"\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\n\"", "\"\u2028<>&\"", "\"1234567\x1f\"", "\"\xff\xfe\"", "\"a\x80bcdefg\"",
	`[1"a"]`, `{"a":1"b":2}`, `[[][]]`, `{"a"`, `{"a":1,`, `{a":1}`, `[1`, `"a b"`, `"aa\u12"`, `"\u1234`, `"\u12:4"`, `"\u00aA"`, `"\u00fF"`,
	`"12345678"`, `"1234567"`, `"123456"`, `"1234567\"8"`, `"12345678`, `"ääääää"`, `["12345678","1234"]`,
}

func TestIsCompact(t *testing.T) {
	for _, s := range compactSeeds {
		checkCompact(t, []byte(s))
	}
	// Each byte, at each place of what is looked at at once.
	for c := range 256 {
		for at := range 16 {
			s := []byte(`"0123456789abcdef"`)
			s[1+at] = byte(c)
			checkCompact(t, s)
		}
	}
	for depth := range 70 {
		for _, s := range []string{"[]", `{"":0}`} {
			nested := strings.Repeat("[", depth) + s + strings.Repeat("]", depth)
			checkCompact(t, []byte(nested))
			checkCompact(t, []byte(nested[1:]))
		}
	}
}

func FuzzIsCompact(f *testing.F) {
	for _, s := range compactSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(checkCompact)
}

func BenchmarkCompact(b *testing.B) {
	data := []byte(`{"m":"@@T0123456789abcdef","p":"` + strings.Repeat("x", 90) + `"}`)
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		if _, err := CompactTo(&out, data); err != nil {
			b.Fatal(err)
		}
	}
}

// Data nests as deep as encoding/json allows, and no deeper, however compact it is: the
// stack of a goroutine is bounded.
func TestCompactDepth(t *testing.T) {
	for depth, want := range map[int]bool{64: true, 65: true, 10_000: true, 10_001: false, 1_000_000: false} {
		data := []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
		if _, err := Compact(data); (err == nil) != want {
			t.Errorf("%d deep: %v", depth, err)
		}
	}
}
