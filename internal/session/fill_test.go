package session_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/session"
)

// What is handed over is done in order, between batches, and before the events that
// come later.
func TestDo(t *testing.T) {
	h := newHistory(roomy)
	s := newStream(t, h)
	s.begin("", "kv")
	s.run()
	h.put("kv", "kv")
	s.budget.Bytes = 1 // one thing at a time
	var story []string
	note := func(what string) func() { return func() { story = append(story, what); s.Ping(0) } }
	s.Do(note("first"))
	s.Do(func() {
		note("second")()
		s.Do(note("fourth"))
	})
	s.Do(note("third"))
	step := func(want string) {
		t.Helper()
		out, more := s.fill()
		if got := shortStream(t, out); got != want || !more {
			t.Errorf("after %v: told %q, want %q, more: %v", story, got, want, more)
		}
	}
	for range 4 {
		step("ping @0")
	}
	expect(t, "done", fmt.Sprint(story), "[first second third fourth]")
	s.budget = tight
	step("@1")
	s.Do(note("fifth")) // waits until the batch is told
	step("@2")
	expect(t, "done", fmt.Sprint(story), "[first second third fourth]")
	expect(t, "at last", s.told(), "ping @2")
}

// What is handed over while a batch is told is done after it, though nothing else follows.
func TestDoWhileABatchIsTold(t *testing.T) {
	h := newHistory(roomy)
	s := newStream(t, h)
	s.begin("", "kv")
	s.run()
	h.put("kv")
	h.keyed("small")
	s.budget = tight
	s.fill()
	s.Do(func() { s.Ping(0) })
	s.dirty.Store(false) // the driver was woken, and asks
	expect(t, "told", s.told(), "@2, ping @2")
}

// A message that takes all of the budget leaves no room: not for an answer, an event, or a
// part of a roster.
func TestNoRoom(t *testing.T) {
	for name, do := range map[string]func(c *channels, h *history){
		"answer, answer": func(c *channels, _ *history) { c.ping(); c.ping() },
		"answer, event":  func(c *channels, h *history) { c.ping(); h.say("b") },
		"event, event":   func(_ *channels, h *history) { h.say("b", "b") },
		"event, part":    func(c *channels, h *history) { c.answer(nil, "large1", "large2"); c.fill(); h.say("b") },
	} {
		first := func(room int) (out string, taken int, _ *channels) {
			h := newHistory(roomy)
			c := newChannels(t, h)
			c.subscribe(1, "a", "", true)
			c.subscribe(2, "b", "", false)
			c.run()
			do(c, h)
			c.budget.Bytes = room
			out, _ = c.fill()
			return short(t, []string{out}), len(c.buf.Bytes) + len(c.buf.Frame), c
		}
		want, taken, _ := first(1)
		if got, _, c := first(taken); got != want || len(c.run()) == 0 {
			t.Errorf("%s: with %d bytes: %s, with one byte: %s", name, taken, got, want)
		}
	}
}

// A driver that was told that there is no more is woken by all that comes later,
// also by what came while it filled.
func TestNoWakeUpIsLost(t *testing.T) {
	for _, budget := range budgets {
		h := newHistory(roomy)
		s := newStream(t, h)
		s.budget = budget
		s.begin("", "kv", "db")
		s.run()
		meanwhile := 0
		for _, f := range []func(){
			func() { h.put("kv") }, func() { h.put("db", "kv") }, func() { h.Reset(h.Head().Next()) },
			func() { s.Do(func() { meanwhile++ }) },
			func() { s.Do(func() { h.put("kv"); meanwhile++ }) },
			func() { s.Do(func() { s.Do(func() { meanwhile++ }) }) },
		} {
			if s.dirty.Load() {
				t.Error("woken by nothing")
			}
			f()
			for more := true; s.dirty.Load() || more; {
				if !s.dirty.Load() {
					t.Fatal("not woken")
				}
				for more = true; more; {
					_, more = s.fill()
				}
			}
		}
		if meanwhile != 3 {
			t.Errorf("%d were done", meanwhile)
		}
		h.put("kv")
		s.s.Do(func() { s.Ping(0) })
		out, _ := s.fill()
		if got := shortStream(t, out); !strings.HasPrefix(got, fmt.Sprintf("ping @%d", h.Head().Seq-1)) {
			t.Errorf("at the end: %s, with the head at %d", got, h.Head().Seq)
		}
	}
}

// What is given back is kept for others, with nothing of what it had; a buffer that is
// larger than a batch is not kept.
func TestRelease(t *testing.T) {
	for _, event := range []int{1 << 10, 1 << 20} {
		h := newHistory(roomy)
		s := newStream(t, h)
		s.begin("", "kv")
		s.run()
		for range 100 {
			h.add(backend.Event{Type: "kv.put", Resource: "kv", Data: json.RawMessage(`"` + strings.Repeat("x", event) + `"`)})
		}
		buf := session.NewBuffer()
		for more := true; more; {
			more = s.Fill(buf, session.Batch)
		}
		size := cap(buf.WithRoom())
		if size < event {
			t.Fatalf("%d bytes are no burst", size)
		}
		buf.Release()
		if kept := cap(buf.WithRoom()); kept != size && event < 1<<20 || kept > 0 && event == 1<<20 {
			t.Errorf("of %d bytes %d are kept", size, kept)
		}
		if n := buf.Held(); n > 0 {
			t.Errorf("%d events are held", n)
		}
	}
}
