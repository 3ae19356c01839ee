package policy

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
)

func member(user, status string) presence.Member {
	return presence.Member{User: user, Metadata: json.RawMessage(`"` + status + `"`), LastSeen: time.UnixMilli(1000)}
}

// A view shows what See shows, to its client; and the leave of a member whose join it shows.
func TestChannel(t *testing.T) {
	leave := func(m presence.Member) backend.Event {
		return presence.NewEvent(backend.PresenceLeave, "room", m.User, m.Metadata, "", m.LastSeen)
	}
	message := func(user string) backend.Event {
		return backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "room", User: user}
	}
	ada := &Identity{User: "ada"}
	p := &Policy{See: func(id *Identity, ev *backend.Event) bool {
		if id != ada {
			t.Errorf("asked about %+v", id)
		}
		switch {
		case ev.User == "shown":
			return true
		case ev.Type != backend.PresenceJoin:
			return false
		}
		if ev.Channel != "room" || ev.Resource != backend.Presence || ev.UnixMilli != 1000 {
			t.Errorf("asked about %+v", ev)
		}
		return string(presence.MemberOf(ev).Metadata) == `"open"`
	}}
	v := p.View(ada, nil)
	for name, c := range map[string]struct {
		ev    backend.Event
		shown bool
	}{
		"message":                  {message("shown"), true},
		"hidden message":           {message("ghost"), false},
		"join":                     {member("bob", "open").Join("room"), true},
		"hidden join":              {member("bob", "shut").Join("room"), false},
		"leave of who is shown":    {leave(member("bob", "open")), true},
		"leave of who is hidden":   {leave(member("bob", "shut")), false},
		"leave that is shown":      {leave(member("shown", "shut")), true},
		"update of who is shown":   {presence.NewEvent(backend.PresenceUpdate, "room", "bob", json.RawMessage(`"open"`), "", time.UnixMilli(1000)), false},
		"update that itself shows": {presence.NewEvent(backend.PresenceUpdate, "room", "shown", nil, "", time.UnixMilli(1000)), true},
	} {
		if got := v.Channel(&c.ev); got != c.shown {
			t.Errorf("%s: shown %v", name, got)
		}
	}
}

// A stream has what both a grant and See show, with its data if the grant says so.
func TestStream(t *testing.T) {
	grants := []grant.Grant{{Resource: "kv", Data: true}, {Resource: "jobs"}}
	hides := func(_ *Identity, ev *backend.Event) bool { return ev.User != "ghost" }
	for _, c := range []struct {
		resource, user string
		see            func(*Identity, *backend.Event) bool
		seen, data     bool
	}{
		{"kv", "bob", hides, true, true},
		{"kv", "ghost", hides, false, true},
		{"kv", "ghost", nil, true, true},
		{"jobs", "bob", hides, true, false},
		{"jobs", "ghost", hides, false, false},
		{"db", "bob", hides, false, false},
		{"db", "bob", nil, false, false},
	} {
		p := &Policy{See: c.see}
		v := p.View(new(Identity), grants)
		seen, data := v.Stream(&backend.Event{Type: "put", Resource: c.resource, User: c.user})
		if seen != c.seen || seen && data != c.data || v.Uniform() != (c.see == nil) {
			t.Errorf("%+v: seen %v, data %v, uniform %v", c, seen, data, v.Uniform())
		}
		if got := v.Grants(); len(got) != 2 || got[0] != grants[0] {
			t.Errorf("grants: %v", got)
		}
	}
	var none *View
	if none.Grants() != nil {
		t.Error("no view has grants")
	}
}
