package match

import (
	"slices"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

func compiled(t *testing.T, pattern string) Pattern {
	t.Helper()
	p, err := Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Find returns what was added with each rule that matches, in the order of Add,
// whichever field it stands in the index by.
func TestIndex(t *testing.T) {
	var x Index[string]
	add := func(name, resource, typ, namespace, key, channel string, change func(*Rule)) {
		r := Rule{Selector: Selector{
			compiled(t, resource), compiled(t, typ), compiled(t, namespace), compiled(t, key), compiled(t, channel),
		}}
		if change != nil {
			change(&r)
		}
		x.Add(r, name)
	}
	presence := func(r *Rule) { r.Presence = true }
	typed := func(pattern string) func(*Rule) {
		return func(r *Rule) { r.DataType = compiled(t, pattern) }
	}
	add("all ", "", "", "", "", "", nil)
	add("resource ", "kv", "", "", "", "", nil)
	add("type ", "", "kv.*", "", "", "", nil)
	add("namespace ", "", "", "demo", "", "", nil)
	add("key ", "", "", "", "a:*", "", nil)
	add("longer-key ", "", "", "", "a:b", "", nil)
	add("glob ", "", "", "", "*:b", "", nil)
	add("message ", backend.Realtime, backend.Message, "", "", "room:*", nil)
	add("typed ", backend.Realtime, backend.Message, "", "", "room:1", typed("mess*"))
	add("present ", backend.Realtime, backend.Message, "", "", "room:1", func(r *Rule) { presence(r); typed("presence")(r) })

	message := func(channel, data string) backend.Event {
		return backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: channel, Data: []byte(data)}
	}
	for _, c := range []struct {
		ev   backend.Event
		want string
	}{
		{backend.Event{Resource: "x"}, "all "},
		{backend.Event{Resource: "kv", Type: "kv.put", Namespace: "demo", Key: "a:b"}, "all resource type namespace key longer-key glob "},
		{backend.Event{Resource: "x", Key: "a:bc"}, "all key "},
		{message("room:2", `{}`), "all message "},
		{message("room:1", `{"type":"message"}`), "all message typed "},
		{message("room:1", `{"type":"message","type":"other"}`), "all message "},
		{message("room:1", `{"type":"presence"}`), "all message present "},
		{message("room:1", `["type"]`), "all message "},
		{message("room:1", `{"Type":"message"}`), "all message "},
		{backend.Event{Resource: backend.Presence, Type: backend.PresenceJoin, Channel: "room:1"}, "all present "},
		{backend.Event{Resource: backend.Presence, Type: backend.PresenceJoin, Channel: "room:2"}, "all "},
	} {
		got := ""
		for _, name := range x.Find(&c.ev) {
			got += name
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.ev, got, c.want)
		}
	}
}

// Each field of a selector counts.
func TestSelectorMatches(t *testing.T) {
	sel := Selector{compiled(t, "kv"), compiled(t, "kv.*"), compiled(t, "demo"), compiled(t, "a:*"), compiled(t, "")}
	room := Selector{compiled(t, ""), compiled(t, ""), compiled(t, ""), compiled(t, ""), compiled(t, "room:*")}
	for _, c := range []struct {
		sel  *Selector
		ev   backend.Event
		want bool
	}{
		{&sel, backend.Event{Resource: "kv", Type: "kv.put", Namespace: "demo", Key: "a:1"}, true},
		{&sel, backend.Event{Resource: "db", Type: "kv.put", Namespace: "demo", Key: "a:1"}, false},
		{&sel, backend.Event{Resource: "kv", Type: "put", Namespace: "demo", Key: "a:1"}, false},
		{&sel, backend.Event{Resource: "kv", Type: "kv.put", Namespace: "else", Key: "a:1"}, false},
		{&sel, backend.Event{Resource: "kv", Type: "kv.put", Namespace: "demo", Key: "b:1"}, false},
		{&room, backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: "room:1"}, true},
		{&room, backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: "hall:1"}, false},
		{&room, backend.Event{Resource: "kv", Type: "kv.put"}, false},
	} {
		if got := c.sel.Matches(&c.ev); got != c.want {
			t.Errorf("%+v: %v", c.ev, got)
		}
	}
}

// A selector may match in a domain that it names, or that its pattern allows, unless it
// asks for a channel; an index, if one of its rules may.
func TestMayMatchIn(t *testing.T) {
	for _, c := range []struct {
		resource, channel string
		domain            string
		want              bool
	}{
		{"", "", "kv", true},
		{"kv", "", "kv", true},
		{"k*", "", "kv", true},
		{"db", "", "kv", false},
		{"kv", "*", "kv", true},
		{"kv", "room:*", "kv", false},
		{"", "room:1", "kv", false},
	} {
		sel := Selector{Resource: compiled(t, c.resource), Channel: compiled(t, c.channel)}
		if got := sel.MayMatchIn(c.domain); got != c.want {
			t.Errorf("resource %q and channel %q in %s: %v", c.resource, c.channel, c.domain, got)
		}
		var x Index[int]
		if x.MayMatchIn(c.domain) {
			t.Error("an index without rules may match")
		}
		x.Add(Rule{Selector: Selector{Resource: compiled(t, "other"), Type: compiled(t, ""), Namespace: compiled(t, ""), Key: compiled(t, ""), Channel: compiled(t, "")}}, 1)
		x.Add(Rule{Selector: Selector{sel.Resource, compiled(t, ""), compiled(t, ""), compiled(t, ""), sel.Channel}}, 2)
		if got := x.MayMatchIn(c.domain); got != c.want {
			t.Errorf("an index with resource %q and channel %q in %s: %v", c.resource, c.channel, c.domain, got)
		}
	}
}

// Whatever fields the rules name, an index finds what asking each of them finds.
func TestIndexFindsAll(t *testing.T) {
	var patterns []Pattern
	for _, p := range []string{"", "a", "a*", "ab*", "*b", "a?"} {
		patterns = append(patterns, compiled(t, p))
	}
	var rules []Rule
	var x Index[int]
	add := func(r Rule) {
		x.Add(r, len(rules))
		rules = append(rules, r)
	}
	whole := patterns[0]
	for _, p := range patterns {
		for _, q := range patterns {
			for _, presence := range []bool{false, true} {
				for _, s := range []Selector{
					{p, q, whole, whole, whole}, {whole, p, q, whole, whole}, {whole, whole, p, q, whole},
					{whole, whole, whole, p, q}, {p, whole, whole, whole, q}, {whole, q, whole, whole, p},
				} {
					add(Rule{Selector: s, Presence: presence})
				}
			}
		}
	}
	names := []string{"", "a", "ab", "bb"}
	for i := range 4 * 4 * 4 * 4 * 4 {
		pick := func() string { n := names[i%4]; i /= 4; return n }
		ev := backend.Event{Resource: pick(), Type: pick(), Namespace: pick(), Key: pick(), Channel: pick()}
		if ev.Type == "" {
			ev.Resource, ev.Type = backend.Presence, backend.PresenceJoin
		}
		s := subject{Event: &ev}
		var want []int
		for i := range rules {
			if rules[i].matches(&s) {
				want = append(want, i)
			}
		}
		if got := x.Find(&ev); !slices.Equal(got, want) {
			t.Fatalf("%+v: the index finds %v, of %v", ev, got, want)
		}
	}
}
