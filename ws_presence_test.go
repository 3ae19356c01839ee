package realtime_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// The state of presence comes when a subscriber cannot know it otherwise.
func TestWSPresenceState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		cursor := string(h.Cursor())
		h.join("room", "ada", map[string]int{"n": 1})
		synctest.Wait()
		joined := time.Now()
		time.Sleep(time.Second)
		for _, c := range []struct {
			name, op string
			state    bool
			events   string
		}{
			{"without presence", subscribe("room"), false, ""},
			{"fresh", subscribe("room") + `,"presence":true`, true, ""},
			{"resumed", since("room", cursor) + `,"presence":true`, false, "presence.join"},
			{"reset", since("room", "garbage") + `,"presence":true`, true, ""},
		} {
			s := h.socket(get("/realtime"))
			s.ok(c.op)
			if c.state {
				o := s.want("presence.state")
				if o.Channel != "room" || o.Cursor == "" || len(o.Members) != 1 || o.Members[0].UserID != "ada" ||
					string(o.Members[0].Metadata) != `{"n":1}` || !o.Members[0].LastSeen.Equal(joined) {
					t.Errorf("%s: %s", c.name, o.raw)
				}
			}
			var events []string
			for _, o := range s.rest() {
				events = append(events, o.Event)
			}
			if got := strings.Join(events, " "); got != c.events {
				t.Errorf("%s: then %q", c.name, got)
			}
			if c.name == "resumed" { // a client that has no roster asks for one
				s.ok(c.op)
				if got := s.rest(); len(got) != 1 || got[0].Event != "presence.state" || len(got[0].Members) != 1 {
					t.Errorf("subscribed again: %+v", got)
				}
			}
		}
		s := h.socket(get("/realtime"))
		s.ok(subscribe("empty") + `,"presence":true`)
		if o := s.want("presence.state"); !strings.Contains(o.raw, `"members":[]`) {
			t.Errorf("%s", o.raw)
		}
	})
}

// The first roster of a connection has the cursor of where its events begin,
// also where the server reads the operations before it has begun to write.
func TestWSPresenceStateCursor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		h.publish("elsewhere", 1)
		for range 100 { // it is a matter of luck
			s := h.dial(get("/realtime"))
			s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
			s.send(`{"op":"subscribe","channel":"room","presence":true,"ref":1}`)
			want := s.want("hello").Cursor
			s.want("subscribed")
			if o := s.want("presence.state"); o.Cursor != want {
				t.Fatalf("roster at %s, want %s", o.Cursor, want)
			}
			s.ws.CloseNow()
		}
	})
}

func TestWSMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s, other := h.socket(get("/realtime", "Authorization", "Bearer ada")), h.socket(get("/realtime"))
		other.ok(subscribe("room") + `,"presence":true`)
		other.want("presence.state")
		for _, c := range []struct{ op, event, metadata, reason string }{
			{`"op":"join","channel":"room","metadata":{ "n": 1 }`, "presence.join", `{"n":1}`, ""},
			{`"op":"join","channel":"room","metadata":{"n":1},"userId":"ada"`, "", "", ""},
			{`"op":"update","channel":"room","metadata":{"n":2}`, "presence.update", `{"n":2}`, ""},
			{`"op":"update","channel":"room","metadata":{"n":2}`, "", "", ""},
			{publish("elsewhere", "1"), "", "", ""},
			{`"op":"leave","channel":"room"`, "presence.leave", `{"n":2}`, "left"},
			{`"op":"leave","channel":"room"`, "", "", ""},
		} {
			s.ok(c.op)
			if c.event == "" {
				other.nothing()
				continue
			}
			o := other.want(c.event)
			if o.Channel != "room" || o.UserID != "ada" || string(o.Metadata) != c.metadata || o.Reason != c.reason ||
				o.From != wire.Tag(tab1) || o.ID == "" || o.TS != time.Now().UnixMilli() {
				t.Errorf("%s: %s", c.op, o.raw)
			}
		}
		if o := s.call(`"op":"update","channel":"room","metadata":1`); o.Code != "not_joined" {
			t.Errorf("update without join: %s", o.raw)
		}
		s.nothing() // it did not subscribe
	})
}
