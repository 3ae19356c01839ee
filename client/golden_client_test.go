package client

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// golden is testdata/wire.json, which the tests of the server and of the browser
// SDK read too.
type golden struct {
	REN            []struct{ Name, Frame string }
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
	step(func() { s.Subscribe(t.Context(), "room:42", Rewind(2), RewindFor(time.Minute)) })
	step(func() {
		c := &call{op: op{Op: "history", Channel: "room:42", Before: "hog38gu134.2r", Limit: 50}, done: func(frame, error) {}}
		if err := s.keep(c); err != nil {
			t.Error(err)
		}
	})
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
		s.out.add(&call{op: op{Op: "publish", Channel: "room:42", Data: []byte(`{"type":"typing"}`), Ephemeral: true}, done: func(frame, error) {}})
	})
	step(func() {
		m := s.room("room:42")
		m.end(io.EOF, true)
		s.sync(m)
	})
	got := map[string]bool{}
	for _, text := range sent {
		got[withoutRef(t, text)] = true
	}
	for _, g := range readGolden(t).Client {
		if g.Name == "hello with token" {
			continue // a Go client sends it as a header
		}
		if !got[withoutRef(t, g.Frame)] {
			t.Errorf("%s was not sent: %s, but\n%s", g.Name, g.Frame, strings.Join(sent, "\n"))
		}
	}
}

// withoutRef returns a frame with its members sorted, and no ref.
func withoutRef(t *testing.T, text string) string {
	m := map[string]any{}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Error(err)
	}
	delete(m, "ref")
	b, _ := json.Marshal(m)
	return string(b)
}
