package backend_test

import (
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// Positions are ordered by epoch, and within one by number.
func TestPositions(t *testing.T) {
	ascending := []backend.Position{{}, {Seq: 9}, {Epoch: 1}, {Epoch: 1, Seq: 1}, {Epoch: 1, Seq: 2}, {Epoch: 2}, {Epoch: 2, Seq: 1}}
	for i, p := range ascending {
		for k, q := range ascending {
			want, later := 0, p
			if i < k {
				want, later = -1, q
			} else if i > k {
				want = 1
			}
			if got := p.Compare(q); got != want {
				t.Errorf("%v compared to %v: %d", p, q, got)
			}
			if got := p.Max(q); got != later {
				t.Errorf("the later one of %v and %v: %v", p, q, got)
			}
		}
		if next := p.Next(); next.Compare(p) != 1 || next.Epoch != p.Epoch || next.Seq != p.Seq+1 {
			t.Errorf("%v after %v", next, p)
		}
	}
}

// What an event is, and is about.
func TestEventKinds(t *testing.T) {
	for _, c := range []struct {
		ev                                backend.Event
		channel, presence, leaves, resets bool
		name, separator                   string
	}{
		{backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: "room", Key: "no"}, true, false, false, false, "room", ":"},
		{backend.Event{Resource: backend.Presence, Type: backend.PresenceJoin, Channel: "room"}, true, true, false, false, "room", ":"},
		{backend.Event{Resource: backend.Presence, Type: backend.PresenceLeave, Channel: "room"}, true, true, true, false, "room", ":"},
		{backend.Event{Resource: backend.Storage, Type: "storage.object.created", Key: "a/b", Channel: "no"}, false, false, false, false, "a/b", "/"},
		{backend.Event{Resource: "kv", Type: "kv.put", Key: "a:b"}, false, false, false, false, "a:b", ":"},
		{backend.ResetOf("kv").Event, false, false, false, true, "kv", ":"},
	} {
		ev := &c.ev
		if backend.InChannel(ev.Resource) != c.channel || ev.IsPresence() != c.presence || ev.IsLeave() != c.leaves || ev.IsReset() != c.resets {
			t.Errorf("%+v: of a channel %v, presence %v, leave %v, reset %v", ev, backend.InChannel(ev.Resource), ev.IsPresence(), ev.IsLeave(), ev.IsReset())
		}
		if ev.Name() != c.name || backend.Separator(ev.Resource) != c.separator {
			t.Errorf("%+v: about %q, with %q", ev, ev.Name(), backend.Separator(ev.Resource))
		}
	}
}
