package presence_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// forget has the store lose the record of a member.
func (w *world) forget(user string) {
	w.t.Helper()
	it, err := w.b.Get(w.ctx, memberKey(user))
	w.must(err)
	w.must(w.b.Delete(w.ctx, it.Key, it.Revision, nil))
}

// A member that is recorded again is what the newest Join made of it, and was seen now.
func TestRecordedAgainAsItWas(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.join(a, with(tab("ann", "2"), `"here"`), with(tab("ann", "3"), `"there"`), with(tab("ann", "1"), `"away"`), with(tab("ann", "4"), `"last"`))
		w.leave(a, "ann", "4", presence.Left, 0)
		w.payloads()
		w.pass(time.Minute)
		w.forget("ann")
		a.Lost()
		w.pass(time.Second)
		w.expect("recorded again", `presence.join ann {"metadata":"last"}`)
		if seen := time.Since(w.lastSeen(b, "ann")); seen > 2*time.Second {
			t.Errorf("seen %v ago", seen)
		}
	})
}

// A session that lasts for an hour is recorded again like any other; one that ends at once
// is not.
func TestRecordedAgainUntilTheirEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a", false)
		w.join(a, lasting(tab("ann", "1"), time.Hour), tab("bob", "1"), lasting(tab("cid", "1"), time.Minute))
		w.pass(time.Minute - time.Second/2)
		w.payloads()
		w.forget("ann")
		w.forget("bob")
		w.forget("cid")
		a.Lost()
		w.pass(2 * time.Second)
		w.expect("recorded again", `presence.join ann {}`, `presence.join bob {}`)
		w.pass(time.Hour)
		w.expect("at the end", `presence.leave ann {"reason":"timeout"}`)
		w.present(a, "at the end", "bob")
	})
}

// A node that has another name now records its sessions under that, also where the store
// was put back to when it had its first name: nobody leaves.
func TestStorePutBackToAnEarlierName(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.join(a, tab("ann", "1"))
		old, err := w.b.Get(w.ctx, memberKey("ann"))
		w.must(err)
		it, err := w.b.Get(w.ctx, backend.Key{Kind: "node", Group: "lease", Name: "a"})
		w.must(err)
		w.must(w.b.Delete(w.ctx, it.Key, it.Revision, nil)) // given up
		w.movedAtOnce(a, "a")
		w.pass(2 * lease) // in which no session of others ends
		w.payloads()
		w.overwrite(memberKey("ann"), string(old.Value))
		a.Lost()
		b.Lost()
		w.pass(10 * time.Minute)
		w.expect("after the loss")
		w.present(b, "after the loss", "ann")
	})
}

// A session that has moved to another node is forgotten by the one it came from: after a
// loss of the store, when the node it is recorded for has not been given up meanwhile, and
// a lease later where the node knows that it had recorded the session itself since.
func TestMovedSessionsAreForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		a, p, _ := w.probed("a", false)
		b := w.start("b", false)
		w.join(a, tab("ann", "1"), tab("ann", "2"))
		w.join(b, tab("ann", "1"))
		a.Lost()
		w.pass(lease)
		if n := a.Sessions(); n != 2 {
			t.Errorf("%d sessions, while b may be dead", n)
		}
		w.pass(3 * lease)
		if n := a.Sessions(); n != 1 {
			t.Errorf("%d sessions, when b lives", n)
		}

		w.join(b, tab("bob", "1"))
		w.join(a, tab("bob", "1"), tab("bob", "2"))
		a.Lost()
		w.pass(time.Second) // in which it finds bob's sessions recorded as its own
		w.join(b, tab("bob", "1"))
		p.failing(times(1, "Put member", backend.ErrMaybeStored))
		w.join(a, with(tab("bob", "2"), `2`)) // has it look at bob
		w.pass(lease / 2)
		if n := a.Sessions(); n != 3 {
			t.Errorf("%d sessions, while the store may have been put back", n)
		}
		w.pass(lease)
		if n := a.Sessions(); n != 2 {
			t.Errorf("%d sessions, after bob has moved", n)
		}
		w.pass(time.Hour)
		w.present(b, "in the end", "ann", "bob")
	})
}

// A node reads that its session is another's: the store was put back to before it moved
// here, and the node is told of that later. The session stays.
func TestToldLateThatTheStoreWasPutBack(t *testing.T) {
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprintf("the other node is dead: %v", dead), func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, p, _ := w.probed("a", false)
				b := w.start("b", false)
				w.join(b, tab("ann", "1"))
				old, err := w.b.Get(w.ctx, memberKey("ann"))
				w.must(err)
				w.join(a, tab("ann", "1"), tab("ann", "2"))
				w.leave(b, "ann", "1", presence.Left, 0) // its connection there has ended
				w.join(a, tab("ann", "1"))
				w.payloads()
				if dead {
					b.kill()
				}
				w.overwrite(memberKey("ann"), string(old.Value))
				p.failing(times(1, "Put member", backend.ErrMaybeStored))
				w.join(a, with(tab("ann", "2"), `2`)) // has it look at ann
				w.pass(lease - time.Second)
				if reads := p.count("Get member"); reads > 4 {
					t.Errorf("%d reads of the record", reads)
				}
				b.Lost()
				a.Lost()
				w.pass(10 * time.Minute)
				w.expect("after the loss", `presence.update ann {"metadata":2}`)
				w.leave(a, "ann", "2", presence.Left, 0)
				w.present(a, "with its first session", "ann")
			})
		})
	}
}

// A Join that was answered is not undone by an earlier one, of another node, that comes
// late.
func TestEarlierJoinComesLate(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		w.join(a, tab("ann", "1"))
		w.payloads()
		b.store.failing(func(backend.Key) fault { return fault{late: 10 * time.Second} })
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		if err := b.Join(ctx, tab("ann", "1")); err == nil {
			t.Fatal("it is said to have joined")
		}
		w.join(a, tab("ann", "1"))
		b.store.failing(nil)
		w.pass(time.Minute)
		w.expect("after the late one")
		w.present(b, "after the late one", "ann")
		if n := a.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A node that ends while a member it records again, or has to end, is being changed ends at
// once.
func TestEndedWhileAMemberIsChanged(t *testing.T) {
	for name, begin := range map[string]func(w *world, a *node){
		"recorded again": func(w *world, a *node) {
			w.join(a, tab("ann", "1"))
			w.change(a, "ann")
			a.Lost()
			w.pass(time.Second)
		},
		"of a dead node": func(w *world, a *node) {
			b := w.start("b", false)
			w.join(b, tab("ann", "2"))
			b.kill()
			w.pass(lease / 3)
			w.change(a, "ann")
			w.pass(lease)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.start("a", false)
				w.pass(time.Second)
				begin(w, a)
				began := time.Now()
				a.kill()
				if took := time.Since(began); took > 0 {
					t.Errorf("it took %v", took)
				}
				w.pass(time.Hour)
				w.present(a, "in the end", "ann")
			})
		})
	}
}

// change begins a change of a member that takes a minute.
func (w *world) change(n *node, user string) {
	w.t.Helper()
	n.store.failing(func(k backend.Key) fault {
		if k.Kind == "member" {
			return fault{slow: time.Minute}
		}
		return fault{}
	})
	go n.Join(w.ctx, with(tab(user, "1"), `1`))
	w.pass(time.Second)
}
