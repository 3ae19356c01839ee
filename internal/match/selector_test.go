package match

import (
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
