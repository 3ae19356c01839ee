package presence_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

func (w *world) nodesAre(n *node, when string, want ...string) {
	w.t.Helper()
	got, err := n.Nodes(w.ctx)
	w.must(err)
	if slices.Sort(got); !slices.Equal(got, want) {
		w.t.Errorf("%s: the nodes are %q, want %q", when, got, want)
	}
}

// A node is given up when its record has not changed for more than two thirds of the lease,
// as others see it.
func TestWhenANodeIsGivenUp(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a", false) // which looks each 5 s
		w.pass(time.Second)
		b := w.start("b", false) // which writes a second later
		w.pass(11 * time.Second)
		b.kill() // what it wrote at 11 s is seen at 15 s
		w.pass(24 * time.Second)
		w.nodesAre(a, "after 36 s", "a", "b")
		w.pass(5 * time.Second)
		w.nodesAre(a, "after 41 s", "a")
	})
}

// While the store may be older than what nodes know, none is given up, and nobody's sessions
// are ended: for one lease.
func TestNobodyIsGivenUpAfterALoss(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.join(b, tab("bob", "1"))
		ghost := w.start("ghost", false)
		w.join(ghost, tab("ann", "1"))
		for _, n := range []*node{b, ghost} {
			n.kill()
		}
		it, err := w.b.Get(w.ctx, backend.Key{Kind: "node", Group: "lease", Name: "ghost"})
		w.must(err)
		w.must(w.b.Delete(w.ctx, it.Key, it.Revision, nil))
		a.Lost()
		w.payloads()
		w.pass(lease - time.Second)
		w.nodesAre(a, "in the lease", "a", "b")
		w.expect("in the lease")
		w.pass(lease / 2)
		w.nodesAre(a, "after it", "a")
		w.expect("after it", `presence.leave ann {"reason":"node"}`, `presence.leave bob {"reason":"node"}`)
	})
}

// A write of a dead node that was on its way is found three minutes after it was given up.
func TestLateWriteOfADeadNode(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.join(b, tab("ann", "1"))
		k := backend.Key{Kind: "member", Group: channel, Name: "ann"}
		old, err := w.b.Get(w.ctx, k)
		w.must(err)
		b.kill()
		w.pass(2 * lease)
		w.present(a, "given up")
		w.pass(time.Minute)
		_, err = w.b.Put(w.ctx, backend.Write{Key: k, Value: old.Value})
		w.must(err)
		w.pass(3 * time.Minute)
		w.present(a, "later")
	})
}

// Nobody's sessions are ended where the store does not say, when it is asked again, that their
// node is gone.
func TestReapThatCannotAskAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, said := w.probed("a", false)
		b := w.start("b", false)
		w.join(b, tab("ann", "1"))
		w.pass(time.Second)
		b.kill()
		asked := 0
		p.failing(func(call string) error {
			if call != "Get node" {
				return nil
			}
			if asked++; asked == 1 {
				return nil
			}
			return errCut
		})
		w.pass(lease + lease/3)
		w.present(a, "while it cannot ask", "ann")
		p.failing(nil)
		if log := said.take(); asked < 2 || !strings.Contains(log, errCut.Error()) {
			t.Errorf("asked %d times; it is said that %q", asked, log)
		}
		w.pass(lease / 3) // before it looks for nodes that died before it began
		w.present(a, "when it has asked")
	})
}

// A record of a member that is malformed is told of, where sessions of dead nodes are looked
// for.
func TestReapOfAMalformedRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		_, p, said := w.probed("a", false)
		w.overwrite(memberKey("ann"), "\x09")
		w.overwrite(memberKey("bob"), "\x01\x01\x00\x011\x04gone\x00\x7f") // which names a node that is gone
		w.pass(2*lease + lease/2)
		if log := said.take(); strings.Count(log, "malformed") != 2 {
			t.Errorf("it is said that %q", log)
		}
		if n := p.count("Get member") + p.count("Get node"); n > 0 {
			t.Errorf("%d more questions are asked about them", n)
		}
	})
}

// A node whose store is closed does nothing more.
func TestClosedStore(t *testing.T) {
	for _, alone := range []bool{true, false} {
		inWorld(t, func(w *world) {
			n, p, said := w.probed("a", alone)
			w.join(n, lasting(tab("ann", "1"), time.Second))
			p.failing(func(string) error { return backend.ErrClosed })
			w.pass(lease)
			p.failing(nil)
			w.pass(lease)
			p.mu.Lock()
			defer p.mu.Unlock()
			if log := said.take(); log != "" || len(p.calls) > 0 {
				t.Errorf("it calls %v; it is said that %s", p.calls, log)
			}
		})
	}
}

// End says what it cannot do, and writes nothing where the record has gone.
func TestEndThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(call string) error
		want  error
		puts  int
	}{
		"at once": {func(string) error { return nil }, nil, 1},
		"cut":     {times(1, "Put node", errCut), errCut, 1},
		"cannot read": {func(call string) error {
			return map[string]error{"Put node": backend.ErrMaybeStored, "Get node": errCut}[call]
		}, errCut, 1},
		"perhaps":       {times(1, "Put node", backend.ErrMaybeStored), nil, 2},
		"perhaps twice": {only("Put node", backend.ErrMaybeStored), backend.ErrMaybeStored, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, _ := w.probed("a", false)
				w.pass(time.Second)
				n.kill()
				p.failing(c.fault)
				if err := n.End(w.ctx); !errors.Is(err, c.want) || p.count("Put node") != c.puts {
					t.Errorf("%v after %d writes", err, p.count("Put node"))
				}
				it, err := w.b.Get(w.ctx, backend.Key{Kind: "node", Group: "lease", Name: "a"})
				w.must(err)
				w.must(w.b.Delete(w.ctx, it.Key, it.Revision, nil)) // given up
				p.failing(nil)
				w.must(n.End(w.ctx))
				if it, err := w.b.Get(w.ctx, it.Key); err != nil || it.Revision != 0 {
					t.Errorf("there is a record again, %v", err)
				}
			})
		})
	}
}

// Members in doubt are looked at soon, 16 at a time, and once more when nothing can be on its
// way. A node that is alone has no doubts.
func TestDoubtsCostLittle(t *testing.T) {
	for alone, want := range map[bool][]int{true: {0, 0, 0}, false: {40, 0, 40}} {
		inWorld(t, func(w *world) {
			n, p, _ := w.probed("a", alone)
			w.pass(time.Second) // between two looks
			for i := range 40 {
				p.failing(times(1, "Put member", backend.ErrMaybeStored))
				w.join(n, tab(fmt.Sprint("user", i), "1"))
			}
			p.failing(nil)
			w.join(n, tab("user0", "1"))
			if puts := p.count("Put member"); (puts == 0) != alone {
				t.Errorf("alone %v: %d writes of what is there", alone, puts)
			}
			p.slowDown(10 * time.Millisecond)
			for i, wait := range []time.Duration{6 * time.Second, 2 * time.Minute, 2 * time.Minute} {
				p.failing(nil)
				w.pass(wait)
				p.mu.Lock()
				if got, most := p.calls["Get member"], p.most["Get member"]; got != want[i] || most > 16 {
					t.Errorf("alone %v, look %d: %d members are read, %d at once", alone, i, got, most)
				}
				p.mu.Unlock()
			}
		})
	}
}

// What a node does is counted.
func TestStats(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, _ := w.probed("a", false)
		b := w.start("b", false)
		w.join(n, tab("ann", "1"), with(tab("ann", "2"), `1`), tab("bob", "1"))
		w.leave(n, "bob", "1", presence.Left, 0)
		p.failing(times(1, "Put member", backend.ErrConflict))
		w.join(n, tab("cid", "1"))
		p.failing(times(1, "Put member", errCut))
		if err := n.Join(w.ctx, tab("dan", "1")); !errors.Is(err, errCut) {
			t.Error(err)
		}
		p.failing(times(1, "List node", errCut))
		w.leave(n, "cid", "1", presence.Closed, time.Second)
		b.kill()
		w.pass(2 * lease)
		got := n.Stats()
		if n := n.Sessions(); n != got.Sessions {
			t.Errorf("%d sessions, the figures say %d", n, got.Sessions)
		}
		if got.Sweeps < 2 || got.Sweeps > 20 {
			t.Errorf("%d sweeps", got.Sweeps)
		}
		got.Sweeps = 0
		want := presence.Stats{
			Members: 1, Sessions: 2, Joins: 3, Updates: 1, Leaves: 2, Repeated: 1, Swept: 1, NodesGone: 1, Failures: 1,
		}
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// What dead nodes have left is looked for without a question about any node that lives.
func TestNodesThatLiveAreNotAskedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, _, _ := w.probedFollowing("a")
		w.pass(time.Second)
		b, onB := w.startFollowing("b")
		w.pass(3 * time.Second)
		c := w.start("c", false)    // each of whose beats is seen by a before b
		onB.set(longNames(1000)...) // in several records
		for i := range 10 {
			w.join(c, tab(fmt.Sprint("user", i), "c"))
			w.join(b, tab(fmt.Sprint("user", i), "b"))
		}
		w.pass(22 * time.Second)
		c.kill()
		w.pass(lease)
		w.present(a, "after it", "user0", "user1", "user2", "user3", "user4", "user5", "user6", "user7", "user8", "user9")
		if n := p.count("Get node"); n != 11 { // once, and again for each member that it ends
			t.Errorf("nodes are asked for %d times", n)
		}
	})
}
