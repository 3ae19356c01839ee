package session_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// keyed adds events of keys.
func (h *history) keyed(keys ...string) {
	for _, key := range keys {
		h.add(backend.Event{Type: "kv.put", Resource: "kv", Key: key, Data: json.RawMessage("1")})
	}
}

// woken says whether a driver was woken, by a timer perhaps.
var woken atomic.Bool

func newPaced(t *testing.T, h *history, since *backend.Position, v session.View) (*session.Stream, *driver) {
	d := &driver{t: t, budget: session.Batch}
	s := session.NewStream(h.Ring, func() { woken.Store(true) })
	s.Every(200 * time.Millisecond)
	d.s = &s.Session
	s.Do(func() { s.Begin(since, v, []ring.Topic{ring.Domain("kv")}, session.Hello{Domains: []string{"kv"}}) })
	t.Cleanup(s.Close)
	return s, d
}

func (d *driver) stream() string {
	d.t.Helper()
	out := ""
	for _, msg := range d.run() {
		out += msg
	}
	return shortStream(d.t, out)
}

// In each interval the newest event of each key comes, and what has none comes at all.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(roomy)
		s, d := newPaced(t, h, nil, &view{})
		expect(t, "hello", d.stream(), "hello fresh kv @0")
		h.keyed("a")
		expect(t, "after a pause, at once", d.stream(), "@1")
		h.keyed("a", "b", "a", "", "b", "")
		expect(t, "within the interval", d.stream(), "")
		s.Do(func() { s.Ping(1) })
		expect(t, "a ping is not held, nor ahead", d.stream(), "ping @1")
		woken.Store(false)
		time.Sleep(199 * time.Millisecond)
		if synctest.Wait(); woken.Load() {
			t.Error("woken before its time")
		}
		time.Sleep(time.Millisecond)
		if synctest.Wait(); !woken.Load() {
			t.Error("not woken")
		}
		expect(t, "the newest", d.stream(), "@4, @5, @6, @7")
		h.keyed("c")
		expect(t, "within the next interval", d.stream(), "")
		woken.Store(false)
		time.Sleep(200 * time.Millisecond)
		if synctest.Wait(); !woken.Load() {
			t.Error("not woken a second time")
		}
		expect(t, "the newest", d.stream(), "@8")
		h.keyed("c")
		expect(t, "within the interval after it", d.stream(), "")
		s.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
		expect(t, "the end does not wait", d.stream(), "@9, bye closing @9")
	})
}

// Of one interval so many events are kept, of so many bytes, and no more; what makes room
// for another one does not count.
func TestEveryIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		events, keys, size int
		first, all         int // that are told: at once, and in the end
	}{
		"events":          {5000, 5000, 1, 4096, 5000},
		"bytes":           {100, 100, 64 << 10, 64, 100},
		"events of a key": {5000, 1, 1, 1, 1},
		"bytes of a key":  {100, 1, 64 << 10, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHistory(roomy)
				_, d := newPaced(t, h, nil, &view{})
				d.run()
				for i := range c.events {
					data := json.RawMessage(strings.Repeat("1", c.size))
					h.add(backend.Event{Type: "kv.put", Resource: "kv", Key: fmt.Sprint(i % c.keys), Data: data})
				}
				d.budget.Events = 1
				n := len(frames(t, d.stuff()))
				if n != c.first {
					t.Errorf("%d are told at once, want %d", n, c.first)
				}
				time.Sleep(time.Second)
				if n += len(frames(t, d.stuff())); n != c.all {
					t.Errorf("%d are told in the end, want %d", n, c.all)
				}
			})
		})
	}
}

// A stream without an interval tells everything, and one that is closed wakes nobody.
func TestEveryNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(roomy)
		s, d := newPaced(t, h, nil, &view{})
		d.run()
		h.keyed("a")
		d.run()
		h.keyed("a", "a")
		d.run() // rests
		s.Every(0)
		expect(t, "without an interval", d.stream(), "@2, @3")
		s.Every(time.Second)
		h.keyed("a")
		d.run()
		h.keyed("a")
		d.run() // rests
		s.Close()
		woken.Store(false)
		time.Sleep(time.Minute)
		if synctest.Wait(); woken.Load() {
			t.Error("woken after the end")
		}
	})
}

// What is left out is not the newest that the client may see.
func TestEveryOfAView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(roomy)
		_, d := newPaced(t, h, nil, &view{hidden: map[string]bool{"bob": true}})
		d.stream()
		h.keyed("a")
		h.add(backend.Event{Type: "kv.put", Resource: "kv", Key: "a", User: "bob"})
		expect(t, "hidden", d.stream(), "@1")
	})
}

// resetting is a view that resets the history while it is asked.
type resetting struct {
	view
	h *history
}

func (v *resetting) Stream(ev *backend.Event) (seen, data bool) {
	if ev.Key == "b" {
		v.h.Reset(at(10))
	}
	return v.view.Stream(ev)
}

// A reset between the batches of one interval is told after the events before it.
func TestEveryReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(roomy)
		_, d := newPaced(t, h, nil, &resetting{h: h})
		d.stream()
		d.budget.Events = 1
		h.keyed("a", "b", "c")
		expect(t, "in the middle", d.stream(), "@1, @2, reset backend @10")
	})
}

// A client that is cut anywhere and comes back with its cursor knows the newest event of
// every key.
func TestEveryModel(t *testing.T) {
	stories(t, func(t *testing.T, r *rand.Rand) {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(roomy)
			newest, known, pos := map[string]string{}, map[string]string{}, h.Head()
			s, d := newPaced(t, h, &pos, &view{})
			take := func() {
				for _, ev := range frames(t, d.stuff()) {
					if ev.Name == "message" {
						known[keyOf(t, ev.Data)] = ev.ID
					}
					pos = *position(ev.ID)
					if r.IntN(8) == 0 { // cut, in the middle of what was written
						s.Close()
						s, d = newPaced(t, h, &pos, &view{})
						return
					}
				}
			}
			for range 100 {
				key := fmt.Sprint(r.IntN(5))
				h.keyed(key)
				newest[key] = fmt.Sprint(h.Head().Seq)
				if r.IntN(3) == 0 {
					take()
				}
				time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
			}
			for range 20 {
				time.Sleep(time.Second)
				take()
			}
			for key, want := range newest {
				if got := known[key]; seq(got) != "@"+want {
					t.Errorf("of %s %s is known, want @%s", key, seq(got), want)
				}
			}
			s.Close()
		})
	})
}

// stuff is all that is filled now.
func (d *driver) stuff() (out string) {
	for _, msg := range d.run() {
		out += msg
	}
	return out
}

func keyOf(t *testing.T, data string) string {
	t.Helper()
	var ev struct {
		K string `json:"k"`
	}
	if err := json.Unmarshal([]byte(data), &ev); err != nil {
		t.Fatal(err)
	}
	return ev.K
}

func position(cursor string) *backend.Position { return wire.Since(cursor) }
