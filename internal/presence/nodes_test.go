package presence_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// The sessions of a node that died end once, however many others there are.
func TestDeadNode(t *testing.T) {
	inWorld(t, func(w *world) {
		dead, a, b := w.start("dead", false), w.start("a", false), w.start("b", false)
		w.join(dead, tab("ann", "1"), tab("ann", "2"), lasting(tab("bob", "1"), time.Hour), tab("cid", "1"), lasting(tab("eve", "1"), time.Hour))
		w.join(a, tab("cid", "2"))
		w.join(b, lasting(tab("eve", "1"), time.Hour)) // moved
		w.payloads()
		w.pass(10 * lease)
		w.expect("while the node lives")
		dead.kill()
		w.pass(lease / 2)
		w.expect("within the lease")
		w.pass(lease)
		w.expect("after the lease", `presence.leave ann {"reason":"node"}`, `presence.leave bob {"reason":"node"}`)
		w.present(a, "after the lease", "cid", "eve")
		w.pass(10 * time.Minute)
		w.expect("later")
	})
}

// A node that has ended in order is not listed as one that answers. Its sessions stay for
// as long as its clients need to come back elsewhere, and then leave once.
func TestNodeThatEnds(t *testing.T) {
	late := func(n *node) { // its outcome is unknown to the node
		n.store.failing(func(backend.Key) fault { return fault{late: time.Second / 2} })
	}
	for name, before := range map[string]func(*node){"in order": func(*node) {}, "after a last beat that came late": late} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				ending, a := w.start("ending", false), w.start("a", false)
				w.join(ending, tab("ann", "1"), tab("bob", "1"))
				w.payloads()
				w.pass(lease/2 - time.Second)
				before(ending)
				w.pass(time.Second + time.Second*3/4)
				ending.kill()
				ending.store.failing(nil)
				w.must(ending.End(w.ctx))
				if nodes, err := a.Nodes(w.ctx); err != nil || !slices.Equal(nodes, []string{"a"}) {
					t.Errorf("the nodes are %q, %v", nodes, err)
				}
				w.pass(2 * time.Second)
				if nodes, err := a.Nodes(w.ctx); err != nil || !slices.Equal(nodes, []string{"a"}) {
					t.Errorf("later the nodes are %q, %v", nodes, err)
				}
				w.join(a, tab("ann", "1")) // has come back
				w.expect("ended")
				w.pass(lease)
				w.expect("after the lease", `presence.leave bob {"reason":"node"}`)
				w.present(a, "after the lease", "ann")
				w.must(ending.End(w.ctx)) // given up meanwhile: nothing is written
				if nodes, err := a.Nodes(w.ctx); err != nil || !slices.Equal(nodes, []string{"a"}) {
					t.Errorf("at last the nodes are %q, %v", nodes, err)
				}
			})
		})
	}
	inWorld(t, func(w *world) {
		alone := w.start("alone", true)
		alone.kill()
		w.must(alone.End(w.ctx))
		cut := w.start("cut", false)
		cut.kill()
		cut.store.fail(errCut)
		if err := cut.End(w.ctx); !errors.Is(err, errCut) {
			t.Errorf("without the store: %v", err)
		}
	})
}

// A node that starts ends what is left of those that died before.
func TestNodesThatDiedBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"one", "two"} {
			n := w.start(name, false)
			w.join(n, tab("ann", name))
			n.kill()
		}
		w.pass(time.Hour)
		w.payloads()
		n := w.start("three", false)
		w.join(n, tab("bob", "1"))
		w.pass(3 * lease)
		w.expect("after the lease", `presence.join bob {}`, `presence.leave ann {"reason":"node"}`)
		w.present(n, "after the lease", "bob")
	})
}

// A node that was cut off for so long that the others gave it up comes back with its
// sessions.
func TestNodeComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		cut, a := w.start("cut", false), w.start("a", false)
		w.join(cut, with(tab("ann", "1"), `{"n":1}`), tab("bob", "1"), tab("cid", "1"), lasting(tab("dan", "1"), time.Hour))
		w.join(a, tab("bob", "2"))
		w.payloads()
		cut.store.fail(errCut)
		w.pass(2 * lease)
		w.expect("cut off", `presence.leave ann {"metadata":{"n":1},"reason":"node"}`, `presence.leave cid {"reason":"node"}`, `presence.leave dan {"reason":"node"}`)
		w.leave(cut, "cid", "1", presence.Closed, time.Second) // ends meanwhile
		w.join(a, lasting(tab("dan", "1"), time.Hour))         // joins elsewhere meanwhile
		w.pass(time.Second)
		w.expect("elsewhere", `presence.join dan {}`)
		cut.store.fail(nil)
		w.pass(lease)
		w.expect("back", `presence.join ann {"metadata":{"n":1}}`)
		w.present(a, "back", "ann", "bob", "dan")
		w.pass(10 * time.Minute)
		w.expect("later")
		w.leave(cut, "ann", "1", presence.Left, 0)
		w.leave(a, "bob", "2", presence.Left, 0)
		w.leave(cut, "bob", "1", presence.Left, 0)
		w.expect("left", `presence.leave ann {"metadata":{"n":1},"reason":"left"}`, `presence.leave bob {"reason":"left"}`)
	})
}

// A session that a server joined is renewed and ended through any node.
func TestServersShareSessions(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.join(a, lasting(tab("ann", "1"), 90*time.Second))
		w.pass(time.Minute)
		w.join(b, lasting(tab("ann", "1"), 90*time.Second))
		w.payloads()
		w.pass(time.Minute)
		w.expect("when the first node's time was over")
		w.join(a, lasting(tab("ann", "1"), 90*time.Second))
		w.leave(b, "ann", "1", presence.Left, 0)
		w.expect("left through the other node", annLeft)
		w.pass(time.Hour)
		w.expect("later")
	})
}

// LastSeen travels between nodes, coarsely.
func TestTouchOnOtherNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.join(a, tab("ann", "1"))
		w.join(b, tab("ann", "2")) // where she is not seen
		for range 10 {
			w.pass(10 * time.Second)
			w.must(a.Touch(w.ctx, channel, "ann"))
			if lag := time.Since(w.lastSeen(b, "ann")); lag > 31*time.Second {
				t.Errorf("the other node lags by %v", lag)
			}
		}
	})
}

// Whatever nodes do at once, and whichever of them die, the joins and leaves of a member
// alternate, and in the end the store and the log agree about who is there.
func TestAlternates(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(w *world) { alternates(w, seed) })
		})
	}
}

func alternates(w *world, seed uint64) {
	survivor := w.start("survivor", false)
	var acting sync.WaitGroup
	for i := range 5 {
		n := w.start(fmt.Sprint("n", i), false)
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		acting.Go(func() {
			for range 60 {
				time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
				act(w, n, random)
			}
			if i > 0 {
				n.die()
			}
		})
	}
	acting.Wait()
	w.pass(10 * time.Minute)
	there := make(map[string]bool)
	for _, p := range w.payloads() {
		join := p.Event.Type == "presence.join"
		if p.Event.Type != "presence.update" && join == there[p.Event.User] {
			w.t.Errorf("%s happened twice in a row for %s", p.Event.Type, p.Event.User)
		}
		there[p.Event.User] = join || p.Event.Type == "presence.update"
	}
	for _, m := range w.members(survivor) {
		if !there[m.User] {
			w.t.Errorf("%s is a member, and has left in the log", m.User)
		}
		delete(there, m.User)
	}
	for user, in := range there {
		if in {
			w.t.Errorf("%s is in the log, and no member", user)
		}
	}
}

func act(w *world, n *node, random *rand.Rand) {
	user, id := fmt.Sprint("user", random.IntN(3)), fmt.Sprint(n.name, random.IntN(2))
	var err error
	switch random.IntN(8) {
	case 0, 1, 2:
		err = n.Join(w.ctx, with(tab(user, id), fmt.Sprint(random.IntN(2))))
	case 3, 4:
		err = n.Leave(w.ctx, key(user, id), presence.Departure{Why: presence.Left, In: time.Duration(random.IntN(2)) * time.Second})
	case 5:
		err = n.Touch(w.ctx, channel, user)
	case 6:
		n.store.fail(errCut)
	default:
		n.store.fail(nil)
	}
	if err != nil && !errors.Is(err, errCut) {
		w.t.Error(err)
	}
}

// A node that has ended in order is waited for by nobody, even if the store did not
// say that it took the record. One that is alone has nobody to tell.
func TestEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.pass(time.Second)
		first := true
		a.kill()
		a.store.failing(func(backend.Key) fault {
			if !first {
				return fault{}
			}
			first = false
			return fault{err: backend.ErrMaybeStored}
		})
		w.must(a.End(w.ctx))
		nodes, err := b.Nodes(w.ctx)
		w.must(err)
		if !slices.Equal(nodes, []string{"b"}) {
			w.t.Errorf("the nodes are %q", nodes)
		}
	})
	inWorld(t, func(w *world) {
		w.overwrite(backend.Key{Kind: "node", Group: "lease", Name: "before"}, "\x01") // when the store had others
		a := w.start("a", true)
		w.pass(lease)
		w.nodesAre(a, "alone")
		a.kill()
		w.must(a.End(w.ctx))
		for it, err := range w.b.List(w.ctx, "node", "") {
			w.must(err)
			if it.Name != "before" {
				w.t.Errorf("there is a record %v", it.Key)
			}
		}
	})
}

// A store that comes back empty tells so sooner than the log does, perhaps: a node that
// does not know yet ends no sessions of those who do.
func TestStoreIsPutBackUnheard(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a", false)
		w.pass(2 * time.Second)
		b := w.start("b", false)
		w.join(a, tab("ann", "1"))
		w.join(b, tab("bob", "1"))
		w.pass(time.Minute)
		w.payloads()
		w.pass(2 * time.Second)
		for _, kind := range []string{"member", "node"} {
			for it, err := range w.b.List(w.ctx, kind, "") {
				w.must(err)
				w.must(w.b.Delete(w.ctx, it.Key, it.Revision, nil))
			}
		}
		b.Lost()
		w.pass(10 * time.Second)
		w.expect("both are recorded again", `presence.join ann {}`, `presence.join bob {}`)
		a.Lost()
		w.pass(4 * time.Minute)
		w.expect("nobody leaves")
		w.present(b, "in the end", "ann", "bob")
	})
}
