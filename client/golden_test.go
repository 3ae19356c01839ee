package client

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
)

// golden is testdata/wire.json, which the tests of the server and of the browser
// SDK read too.
type golden struct {
	REN []struct {
		Name, Frame string
		Parsed      []struct {
			Event, ID string
			Data      json.RawMessage
		}
	}
	Server, Client []struct{ Name, Frame string }
}

func readGolden(t testing.TB) (g golden) {
	t.Helper()
	b, err := os.ReadFile("../testdata/wire.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGoldenREN(t *testing.T) {
	for _, g := range readGolden(t).REN {
		var got []string
		ren, l := readStream(strings.NewReader(g.Frame), func(ev realtime.RenEvent, err error) bool {
			if err != nil {
				got = append(got, err.Error())
				return true
			}
			b, err := json.Marshal(ev)
			if err != nil {
				t.Error(err)
			}
			got = append(got, string(b))
			return true
		})
		var want []string
		for _, ev := range g.Parsed {
			var c control
			switch _ = json.Unmarshal(ev.Data, &c); {
			case ev.Event == "message":
				var like realtime.RenEvent
				if err := json.Unmarshal(ev.Data, &like); err != nil {
					t.Error(err)
				}
				b, _ := json.Marshal(like)
				want = append(want, string(b))
			case ev.Event == "ren.reset", c.State == "reset":
				want = append(want, "realtime: events were missed: "+c.Reason)
			case ev.Event == "ren.bye" && l.wait != time.Duration(c.RetryMs)*time.Millisecond:
				t.Errorf("%s: the stream ends with %+v", g.Name, l)
			}
			if ren.Cursor() != realtime.Cursor(ev.ID) {
				t.Errorf("%s: cursor %q", g.Name, ren.Cursor())
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", g.Name, diff)
		}
	}
}

func TestGoldenServerFrames(t *testing.T) {
	for _, g := range readGolden(t).Server {
		s := greet(t)
		messages := s.Subscribe(t.Context(), "room:42")
		s.sent("subscribed")
		l := s.take([]byte(g.Frame))
		if (l != nil) != (g.Name == "bye") {
			t.Errorf("%s ends the connection: %v", g.Name, l)
		}
		s.fail(io.EOF)
		var got []string
		for m, err := range messages {
			got = append(got, fmt.Sprintf("%s %s %s %d %v", m.Data, m.From, m.UserID, m.UnixMilli, err))
		}
		var f frame
		if err := json.Unmarshal([]byte(g.Frame), &f); err != nil {
			t.Fatal(err)
		}
		want := []string{"   0 EOF"}
		switch f.Event {
		case "message":
			want = []string{fmt.Sprintf("%s %s %s %d <nil>", f.Data, f.From, f.UserID, f.TS), want[0]}
		case "reset":
			want = []string{"   0 realtime: events were missed: " + f.Reason, want[0]}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", g.Name, diff)
		}
	}
}

// Presence as the golden frames tell it.
func TestGoldenPresence(t *testing.T) {
	frames := map[string]string{}
	for _, g := range readGolden(t).Server {
		frames[g.Name] = g.Frame
	}
	s := greet(t)
	s.Presence("room:42").Events(t.Context())
	s.sent("subscribed")
	m := s.rooms["room:42"]
	for _, test := range []struct{ frame, want string }{
		{"presence.state", `[{"userId":"ada","metadata":{"name":"Ada"},"lastSeen":1795465200123},{"userId":"bob","lastSeen":1795465200123}]`},
		{"update", `[{"userId":"ada","metadata":{"name":"Ada","avatar":"/a.png"},"lastSeen":1795465200123},{"userId":"bob","lastSeen":1795465200123}]`},
		{"leave", `[{"userId":"bob","lastSeen":1795465200123}]`},
		{"join", `[{"userId":"ada","metadata":{"name":"Ada","avatar":"/a.png"},"lastSeen":1795465200123},{"userId":"bob","lastSeen":1795465200123}]`},
		{"leave.bare", `[{"userId":"bob","lastSeen":1795465200123}]`},
		{"presence.state empty", `[]`},
	} {
		s.take([]byte(frames[test.frame]))
		if got, _ := json.Marshal(m.roster.list()); string(got) != test.want {
			t.Errorf("after %s the roster is %s", test.frame, got)
		}
	}
}

func TestGoldenClientFrames(t *testing.T) {
	s := greet(t)
	s.prefix = "p"
	var sent []string
	step := func(f func()) {
		f()
		sent = append(sent, s.sent("ok")...)
	}
	hello, _ := json.Marshal(op{Op: "hello", CID: s.set.client})
	sent = append(sent, string(hello))
	step(func() { s.Subscribe(t.Context(), "room:42") })
	step(func() {
		s.rooms["room:42"].sub, s.rooms["room:42"].cursor = unsubscribed, "hog38gu134.2r"
		s.Presence("room:42").Events(t.Context())
	})
	step(func() {
		s.propose(s.room("room:42"), intent{present: true, user: "ada", metadata: []byte(`{"name":"Ada"}`)})
	})
	step(func() {
		s.propose(s.room("room:42"), intent{present: true, user: "ada", metadata: []byte(`{"name":"Countess"}`)})
	})
	step(func() { s.propose(s.room("room:42"), intent{}) })
	step(func() {
		c := &call{op: op{Op: "publish", Channel: "room:42", Data: []byte(`{"type":"message","text":"hello"}`)}, done: func(frame, error) {}}
		if err := s.enqueue(c); err != nil {
			t.Error(err)
		}
	})
	step(func() {
		m := s.room("room:42")
		m.end(io.EOF, true)
		s.sync(m)
	})
	normal := func(text string) string {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Error(err)
		}
		delete(m, "ref")
		b, _ := json.Marshal(m)
		return string(b)
	}
	got := map[string]bool{}
	for _, text := range sent {
		got[normal(text)] = true
	}
	for _, g := range readGolden(t).Client {
		if g.Name == "hello with token" {
			continue // a Go client sends it as a header
		}
		if !got[normal(g.Frame)] {
			t.Errorf("%s was not sent: %s, but\n%s", g.Name, g.Frame, strings.Join(sent, "\n"))
		}
	}
}
