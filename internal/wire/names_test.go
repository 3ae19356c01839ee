package wire

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// What may be a field of an event, a name, and a channel, and what is said of what may not.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		s                   string
		text, name, channel bool
		fault               string
	}{
		{"room:42", true, true, true, ""},
		{"Räume 💬", true, true, true, ""},
		{strings.Repeat("a", 255), true, true, true, ""},
		{strings.Repeat("a", 256), false, false, false, "it has 256 bytes, and may have 255"},
		{strings.Repeat("ä", 128), false, false, false, "it has 256 bytes, and may have 255"},
		{"", true, false, false, "it is empty"},
		{"$control", true, true, false, "names that begin with '$' are reserved"},
		{"a$", true, true, true, ""},
		{"a\xff", false, false, false, "it is not UTF-8"},
		{"a\nb", false, false, false, "it has a control character"},
		{"a\x00", false, false, false, "it has a control character"},
		{"a\u0085b", false, false, false, "it has a control character"}, // NEL, in UTF-8
		{"a\x7f", false, false, false, "it has a control character"},
	} {
		if text, name, channel := ValidText(c.s), ValidName(c.s), ValidChannel(c.s); text != c.text || name != c.name || channel != c.channel {
			t.Errorf("%q: text %v, name %v, channel %v", c.s, text, name, channel)
		}
		if fault := NameFault(c.s); c.fault != "" && fault != c.fault {
			t.Errorf("%q: %s", c.s, fault)
		}
	}
	if fault := NameFault(strings.Repeat("\x00", 255)); fault != "it has a control character" {
		t.Errorf("of 255 bytes: %s", fault)
	}
}

// What is told of elsewhere has at most 512 bytes, and is UTF-8.
func TestClip(t *testing.T) {
	for s, want := range map[string]string{
		"":                               "",
		"a\xff":                          "a\uFFFD",
		strings.Repeat("a", 512):         strings.Repeat("a", 512),
		strings.Repeat("a", 513):         strings.Repeat("a", 512),
		strings.Repeat("a", 511) + "ä":   strings.Repeat("a", 511) + "\uFFFD",
		strings.Repeat("a", 510) + "ä\n": strings.Repeat("a", 510) + "ä",
	} {
		if got := Clip(s); got != want || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(s), got)
		}
	}
}

// A refusal is told from the answer of another server by its code; streams and WebSockets do
// not refuse with those of the storage.
func TestIsCode(t *testing.T) {
	for code, want := range map[string][2]bool{
		"forbidden": {true, true}, "internal": {true, true}, "bad_name": {true, false}, "timeout": {true, false}, "unsupported_type": {true, false},
		"": {}, "Forbidden": {}, "bad gateway": {}, "no_such": {},
	} {
		if got := [2]bool{IsCode(code), slices.Contains(Codes(), code)}; got != want {
			t.Errorf("%q: %v, want %v", code, got, want)
		}
	}
}
