package presence_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

const (
	annJoins = `presence.join ann {}`
	annLeft  = `presence.leave ann {"reason":"left"}`
)

func TestFirstSessionJoins(t *testing.T) {
	in(t, func(w *world, n *node) {
		began := time.Now()
		w.join(n, with(tab("ann", "1"), `{"name":"Ann"}`))
		got := w.payloads()
		want := backend.Event{
			Type: "presence.join", Resource: "presence", Channel: channel, User: "ann", Source: "tab-1",
			UnixMilli: began.UnixMilli(), Data: []byte(`{"metadata":{"name":"Ann"}}`),
		}
		if len(got) != 1 || got[0].Event.Type != want.Type || got[0].Event.Source != want.Source || got[0].Event.UnixMilli != want.UnixMilli ||
			string(got[0].Event.Data) != string(want.Data) || got[0].Event.Channel != channel || got[0].Event.Resource != "presence" {
			t.Errorf("the first session caused %+v", got)
		}
		w.join(n, with(tab("ann", "2"), `{"name":"Ann"}`))
		w.expect("second session")
		w.join(n, tab("bob", "1"))
		w.expect("another user with the same session id", `presence.join bob {}`)
		w.present(n, "three sessions", "ann", "bob")
	})
}

func TestChangedMetadataIsAnUpdate(t *testing.T) {
	in(t, func(w *world, n *node) {
		one, two := tab("ann", "1"), tab("ann", "2")
		w.join(n, with(one, `{"n":1}`))
		w.expect("first session", `presence.join ann {"metadata":{"n":1}}`)
		w.join(n, with(one, `{"n":1}`))
		w.expect("renewed as it was")
		w.join(n, with(one, `{"n":2}`))
		w.expect("renewed with other metadata", `presence.update ann {"metadata":{"n":2}}`)
		w.join(n, with(two, `{"n":3}`))
		w.expect("second session with other metadata", `presence.update ann {"metadata":{"n":3}}`)
		if got := w.members(n); len(got) != 1 || string(got[0].Metadata) != `{"n":3}` {
			t.Errorf("the members are %q", got)
		}
		w.join(n, one)
		w.expect("renewed without metadata", `presence.update ann {}`)
		if got := w.members(n); len(got) != 1 || got[0].Metadata != nil {
			t.Errorf("the members without metadata are %q", got)
		}
	})
}

func TestLastSessionLeaves(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.join(n, with(tab("ann", "1"), `{"n":1}`), with(tab("ann", "2"), `{"n":1}`), tab("bob", "1"))
		w.payloads()
		w.leave(n, "ann", "1", presence.Closed, 0)
		w.expect("one of two sessions")
		w.present(n, "one of two sessions", "ann", "bob")
		w.leave(n, "ann", "2", presence.Left, 0)
		w.expect("the last session", `presence.leave ann {"metadata":{"n":1},"reason":"left"}`)
		w.present(n, "the last session", "bob")
		w.join(n, tab("ann", "2"))
		w.expect("joined again", annJoins)
		w.leave(n, "ann", "2", presence.Left, 0)
		w.leave(n, "ann", "2", presence.Closed, 0)
		w.expect("left twice", annLeft)
	})
}

func TestUnknownSessionLeaves(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.leave(n, "ann", "1", presence.Left, 0)
		w.leave(n, "ann", "1", presence.Left, time.Second)
		w.join(n, tab("ann", "1"))
		w.leave(n, "ann", "2", presence.Left, 0)
		w.pass(2 * time.Second)
		w.expect("unknown sessions left", annJoins)
	})
}

func TestScheduledLeaves(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.join(n, tab("ann", "1"), tab("bob", "1"), tab("bob", "2"))
		w.payloads()
		w.leave(n, "ann", "1", presence.Closed, 3*time.Second)
		w.leave(n, "bob", "1", presence.Closed, 3*time.Second)
		w.pass(3*time.Second - 1)
		w.expect("before it is time")
		w.pass(1)
		w.expect("when it is time", `presence.leave ann {"reason":"closed"}`)
		w.present(n, "when it is time", "bob")

		w.leave(n, "bob", "2", presence.Closed, 3*time.Second)
		w.join(n, tab("bob", "2"))
		w.pass(time.Minute)
		w.expect("joined again before it was time")

		w.join(n, tab("cid", "1"), tab("dan", "1"), tab("eve", "1"))
		w.payloads()
		w.leave(n, "cid", "1", presence.Closed, time.Second)
		w.leave(n, "cid", "1", presence.Timeout, time.Hour)
		w.leave(n, "dan", "1", presence.Timeout, time.Hour)
		w.leave(n, "dan", "1", presence.Closed, time.Second)
		w.leave(n, "eve", "1", presence.Timeout, time.Hour)
		w.leave(n, "eve", "1", presence.Left, 0)
		w.expect("left at once", `presence.leave eve {"reason":"left"}`)
		w.pass(time.Second)
		w.expect("the first of two scheduled", `presence.leave cid {"reason":"closed"}`, `presence.leave dan {"reason":"closed"}`)
		w.pass(2 * time.Hour)
		w.expect("later")
	})
}

func TestTTL(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.pass(time.Second) // nothing has an end, so far
		w.join(n, lasting(tab("ann", "1"), 90*time.Second), lasting(tab("bob", "1"), 90*time.Second), tab("cid", "1"))
		w.payloads()
		w.pass(60 * time.Second)
		w.join(n, lasting(tab("ann", "1"), 90*time.Second), tab("bob", "1"))
		w.pass(60 * time.Second)
		w.expect("renewed, with a TTL and without")
		w.pass(30 * time.Second)
		w.expect("after the TTL ran out", `presence.leave ann {"reason":"timeout"}`)
		w.present(n, "after the TTL ran out", "bob", "cid")

		w.join(n, lasting(tab("dan", "1"), time.Minute), lasting(tab("eve", "1"), time.Hour))
		w.leave(n, "dan", "1", presence.Closed, time.Hour)
		w.leave(n, "eve", "1", presence.Closed, time.Minute)
		w.payloads()
		w.pass(time.Minute)
		w.expect("the first end counts", `presence.leave dan {"reason":"timeout"}`, `presence.leave eve {"reason":"closed"}`)
	})
}

func TestMembers(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.present(n, "an empty channel")
		for _, user := range []string{"cid", "ann", "é", "bob", "Zoe", "ann2"} {
			w.join(n, with(tab(user, "1"), `{"name":"`+user+`"}`))
		}
		w.present(n, "six users", "Zoe", "ann", "ann2", "bob", "cid", "é")
		for _, m := range w.members(n) {
			if want := `{"name":"` + m.User + `"}`; string(m.Metadata) != want {
				t.Errorf("the metadata of %s is %s, want %s", m.User, m.Metadata, want)
			}
		}
		w.join(n, presence.Session{Key: presence.Key{Channel: "attic", User: "ann", ID: "1"}})
		if got, err := n.Channels(w.ctx); err != nil || !slices.Equal(got, []string{"attic", channel}) {
			t.Errorf("the channels are %q, %v", got, err)
		}
		w.must(n.Leave(w.ctx, presence.Key{Channel: "attic", User: "ann", ID: "1"}, presence.Departure{Why: presence.Left}))
		if got, err := n.Channels(w.ctx); err != nil || !slices.Equal(got, []string{channel}) {
			t.Errorf("the channels are %q, %v", got, err)
		}
	})
}

func TestTouch(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.join(n, with(tab("ann", "1"), `{"name":"ann"}`))
		w.payloads()
		w.pass(time.Second)
		for _, user := range []string{"ann", "nobody"} {
			w.must(n.Touch(w.ctx, channel, user))
		}
		if at := w.lastSeen(n, "ann"); time.Since(at) > time.Millisecond {
			t.Errorf("a touched member was last seen at %v, now is %v", at, time.Now())
		}
		w.expect("a touch")
		w.present(n, "after a touch", "ann")
		w.pass(time.Hour)
		w.join(n, with(tab("ann", "1"), `{"name":"ann"}`))
		if at := w.lastSeen(n, "ann"); time.Since(at) > time.Millisecond {
			t.Errorf("a renewed member was last seen at %v, now is %v", at, time.Now())
		}
	})
}

func TestDepth(t *testing.T) {
	in(t, func(w *world, n *node) {
		deep := func(s presence.Session, depth int) presence.Session {
			s.Depth = depth
			return s
		}
		ann := tab("ann", "1")
		w.join(n, deep(ann, 1), deep(with(ann, `{}`), 2), tab("bob", "1"))
		w.must(n.Leave(w.ctx, key("bob", "1"), presence.Departure{Why: presence.Left, In: time.Second, Depth: 4}))
		w.must(n.Leave(w.ctx, ann.Key, presence.Departure{Why: presence.Left, Depth: 3}))
		w.pass(time.Second)
		var depths []int
		for _, p := range w.payloads() {
			depths = append(depths, p.Depth)
		}
		if !slices.Equal(depths, []int{1, 2, 0, 3, 4}) {
			t.Errorf("the depths are %v", depths)
		}
	})
}

// A store that fails leaves nothing undone: what ends by itself is tried again.
func TestStoreFails(t *testing.T) {
	in(t, func(w *world, n *node) {
		w.join(n, tab("ann", "1"), tab("ann", "2"))
		w.payloads()
		n.store.fail(errCut)
		if err := n.Join(w.ctx, tab("bob", "1")); !errors.Is(err, errCut) {
			t.Errorf("Join returned %v", err)
		}
		w.leave(n, "ann", "1", presence.Timeout, time.Second)
		w.pass(10 * time.Second)
		n.store.fail(nil)
		w.pass(2 * time.Second)
		w.leave(n, "ann", "2", presence.Left, 0)
		w.expect("the first session ended when it could", annLeft)

		n.store.fail(backend.ErrMaybeStored)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := n.Join(ctx, tab("bob", "1")); !errors.Is(err, backend.ErrMaybeStored) {
			t.Errorf("Join of unknown outcome returned %v", err)
		}
	})
}

// A Leave that could not even begin, because another change of the member took too long,
// ends the session soon nevertheless, unless it joins again.
func TestLeaveThatWaitsInVain(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("joins again %v", again), func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, _ := w.probed("a", false)
				w.join(n, tab("ann", "1"))
				p.slowDown(time.Second)
				go n.Join(w.ctx, with(tab("ann", "2"), `2`))
				synctest.Wait()
				ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
				defer cancel()
				if err := n.Leave(ctx, key("ann", "1"), presence.Departure{Why: presence.Left}); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("%v", err)
				}
				p.slowDown(0)
				if again {
					w.join(n, with(tab("ann", "1"), `2`))
				}
				w.pass(5 * time.Second)
				w.leave(n, "ann", "2", presence.Left, 0)
				if again {
					w.present(n, "it joined again", "ann")
				} else {
					w.present(n, "both have left")
				}
			})
		})
	}
}

// A Touch that comes late does not put lastSeen back, nor write what another node has
// written meanwhile.
func TestLateTouch(t *testing.T) {
	for _, later := range []time.Duration{0, time.Second} {
		inWorld(t, func(w *world) {
			a, p, _ := w.probed("a", false)
			b := w.start("b", false)
			w.join(a, tab("ann", "1"))
			w.pass(31 * time.Second)
			p.failing(nil)
			p.slowDown(2 * time.Second)
			go a.Touch(w.ctx, channel, "ann")
			w.pass(later)
			w.join(b, tab("ann", "2"))
			seen := w.lastSeen(b, "ann")
			w.pass(20 * time.Second)
			if got := w.lastSeen(b, "ann"); !got.Equal(seen) || p.count("Put member") != 1 {
				t.Errorf("%v later: lastSeen has moved by %v, with %d writes", later, got.Sub(seen), p.count("Put member"))
			}
		})
	}
}
