package match

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

func TestCompile(t *testing.T) {
	long := strings.Repeat("a", 200)
	for _, c := range []struct {
		pattern, matches, others string // separated by spaces
	}{
		{"", "a a:b é", ""},
		{"*", "a a:b", ""},
		{"room:42", "room:42", "room:4 room:421 Room:42 xroom:42"},
		{"room:*", "room: room:42 room:a:b room:*", "room xroom:1"},
		{"*:42", "room:42 a:b:42 :42", "room:421 42"},
		{"a*b", "ab a:b aXXb", "a b abc"},
		{"todolist:*:item:*", "todolist:1:item:2 todolist:a:b:item:c:d todolist::item:", "todolist:1:items:2 todolist:item:1"},
		{"?", "a : é 💬", "ab"},
		{"room:?", "room:a", "room: room:ab"},
		{"[a-c]x", "ax cx", "dx x"},
		{"[!a-c]x", "dx", "ax x"},
		{"{chat,huddle}:*", "chat:1 huddle:a:b", "chat room:1"},
		{`a\*b`, "a*b", "ab axb"},
		{`\{a\}`, "{a}", "a"},
		{"a**b", "ab a:b", "a"},
		{"{a,b,c}", "a b c", "d ab"},
		{`a\**b`, "a*b a*:b", "ab a:b"},
		{`[*]*[{]*[}]*`, "*a{b}c *{}", "a{b}c *{"},
		{`\**\**\**`, "*** *a*b*c", "** a***"},
		{"[*][*][*][*][*]", "*****", "****"},
		{"{" + strings.Repeat("a,", 61) + "b}*", "a b bc", "c"},
		{"{a,b,c,d}-{a,b,c,d}-{a,b,c,d}", "a-b-c", "a-b-e"},
		{"a***b****c*****d", "abcd aXbXcXd", "abc"},                     // three runs
		{strings.Repeat("?", 128), strings.Repeat("a", 128), "a"},       // as long as can be
		{long + "*", long + " " + long + "x", "a"},                      // which costs nothing to match
		{long, long, "a"},                                               // nor does this
		{"*" + strings.Repeat("a", 127), strings.Repeat("a", 128), "a"}, // this does
	} {
		m, err := Compile(c.pattern)
		if err != nil {
			t.Errorf("%q: %v", c.pattern, err)
			continue
		}
		for _, s := range strings.Fields(c.matches) {
			if !m.Match(s) {
				t.Errorf("%q does not match %q", c.pattern, s)
			}
		}
		for _, s := range strings.Fields(c.others) {
			if m.Match(s) {
				t.Errorf("%q matches %q", c.pattern, s)
			}
		}
	}
	if m, err := Compile(""); err != nil || !m.Match("") {
		t.Error(`"" does not match ""`)
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, pattern := range []string{
		"[", "[a", "[]", "{", "{a", "{a,b", `a*\`, "[z-a]x*y",
		// slow ones, and such as grew slow with one wildcard more: ECOSYSTEM.md, 4.2
		"a*a*a*a*a*[!x]c", "room:*-*-*-*-[0-9]", "*{a,b}*{a,b}*{a,b}*[!x]", "*:*:*:*:*", "*a*a*a*a*a*a*[!x]",
		"{a,aa}{a,aa}{a,aa}{a,aa}", "{a*,b}", "{a,{b,c}}", "{a,**}", "}{a*,b*}", `\{{a*}`,
		// what an escape, a class or a brace in a class would hide
		`*\**\**\**\*`, `a\**a\**a\**a\**[!x]`, `\**a\**a\**a\**b`, `{a[}]*,b}`, `{[}]*,b}`, `{[\]}]*,b}`, `{a\}*,b}`, `{\{a}{[{]}{[}]}{a}`,
		`[*]*a*a*a*`, `[{]*a*a*a*`, `\\*a*a*a*`, `[!*]*[!*]*[!*]*[!*]*[x]`,
		// alternatives that multiply
		"*{" + strings.Repeat(",", 30) + "}{" + strings.Repeat(",", 38) + "}[*]", "{" + strings.Repeat("a,", 30) + "}*{" + strings.Repeat("?,", 20) + "?}[!x]",
		"{" + strings.Repeat(",", 100) + "}x", "{a,b,c,d,e}{a,b,c,d,e}{a,b,c}",
		strings.Repeat("?", 129), strings.Repeat("a", 128) + "*b", "a***b****c*****d*",
	} {
		if _, err := Compile(pattern); !errors.Is(err, ErrBadPattern) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}

// worst are names against which patterns with several wildcards are slow.
var worst = []string{
	strings.Repeat("a", 255), strings.Repeat("a", 254) + "x", strings.Repeat("ab", 127), strings.Repeat("-", 255),
	strings.Repeat("a:", 127), strings.Repeat("a-", 126) + "xc", "room:" + strings.Repeat("-", 250), "",
}

// A pattern that is accepted is matched in no time, against any name there can
// be.
func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{
		"", "*", "room:*", "a*a*a*[!x]c", "*{a,b}*[!x]", "{a,b}*{a,b}", "*-*-[0-9]", `\*a*`, "[!a-c]*", "a**b***c", "?*?*?*?", "}{a,b}", "[*{]a*", "{,a}*{,a}",
		"{" + strings.Repeat("a,", 40) + "}*x*", "{a,aa,aaa,aaaa}{a,aa,aaa,aaaa}{a,aa,aaa,aaaa}b", "*[!x]*[!x]*[!x]",
		`*\**\**\**\*`, `{a[}]*,b}`, "{a,b,c,d}*{a,b,c,d}*[!x]", "{" + strings.Repeat("?,", 60) + "?}*[!x]", "*{" + strings.Repeat("?,", 50) + "?}*[!x]",
	} {
		f.Add(pattern, "room:42")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		m, err := Compile(pattern)
		if err != nil {
			if !errors.Is(err, ErrBadPattern) {
				t.Errorf("%q: %v", pattern, err)
			}
			return
		}
		if len(name) <= wire.MaxName {
			timeMatch(t, m, pattern, name)
		}
		for _, name := range worst {
			timeMatch(t, m, pattern, name)
		}
	})
}

func timeMatch(t *testing.T, m Pattern, pattern, name string) {
	const limit = 50 * time.Millisecond // far above what a busy machine adds
	best := time.Hour
	for range 20 {
		began := time.Now()
		m.Match(name)
		if best = min(best, time.Since(began)); best < limit {
			return
		}
	}
	t.Errorf("pattern %q takes %v against %q", pattern, best, name)
}
