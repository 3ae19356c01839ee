package presence_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// lateMembers has the next n changes of members made 100 s late.
func lateMembers(n int) func(backend.Key) fault {
	return func(k backend.Key) fault {
		if k.Kind != "member" || n == 0 {
			return fault{}
		}
		n--
		return fault{late: 100 * time.Second}
	}
}

func (w *world) unknown(do func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, time.Second)
	defer cancel()
	if err := do(ctx); !errors.Is(err, backend.ErrMaybeStored) {
		w.t.Errorf("the outcome is %v, not unknown", err)
	}
}

// A Join of unknown outcome that happens after all leaves no ghost: no node
// would ever end the session.
func TestLateJoinOfALivingNode(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.start("a", false)
		n.store.failing(lateMembers(-1))
		w.unknown(func(ctx context.Context) error { return n.Join(ctx, tab("ann", "1")) })
		n.store.failing(nil)
		w.pass(10 * time.Minute)
		if p := w.payloads(); len(p) < 2 || p[len(p)-1].Event.Type != backend.PresenceLeave || p[len(p)-1].Event.Source != "tab-1" {
			t.Errorf("the events are %+v", p)
		}
		w.present(n, "later")
	})
}

// Nor does a Join that was tried twice, and of which the first try happens after the
// Leave.
func TestLateTryOfAJoin(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.start("a", false)
		n.store.failing(lateMembers(1))
		w.join(n, tab("ann", "1"))
		w.leave(n, "ann", "1", presence.Left, 0)
		w.present(n, "after the leave")
		w.pass(10 * time.Minute)
		w.present(n, "later")
	})
}

// A Leave of unknown outcome does not end what joined after it.
func TestLateLeave(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.start("a", false)
		w.join(n, tab("ann", "1"))
		n.store.failing(lateMembers(-1))
		w.unknown(func(ctx context.Context) error {
			return n.Leave(ctx, key("ann", "1"), presence.Departure{Why: presence.Left})
		})
		n.store.failing(nil)
		w.join(n, tab("ann", "1"))
		w.payloads()
		w.pass(10 * time.Minute)
		w.expect("later")
		w.present(n, "later", "ann")
	})
}

// A Leave that failed is made up for by the node, if nobody joins again.
func TestFailedLeave(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.start("a", false)
		w.join(n, tab("ann", "1"))
		n.store.failing(func(backend.Key) fault { return fault{late: 20 * time.Hour} })
		w.unknown(func(ctx context.Context) error {
			return n.Leave(ctx, key("ann", "1"), presence.Departure{Why: presence.Left})
		})
		n.store.failing(nil)
		w.pass(10 * time.Minute)
		w.present(n, "later")
	})
}

// A user who joins while a node that was given up takes another name is not removed.
func TestJoinWhileANodeIsRenamed(t *testing.T) {
	inWorld(t, func(w *world) {
		cut, a, dying := w.start("cut", false), w.start("a", false), w.start("dying", false)
		cut.store.fail(errCut)
		w.pass(2 * lease)
		dying.kill() // soon its sessions are looked for
		w.pass(2 * time.Second)
		cut.store.failing(func(k backend.Key) fault { // its new names do not come through
			if k.Kind == "node" && strings.Contains(k.Name, "/") {
				return fault{err: errCut}
			}
			return fault{}
		})
		cut.store.fail(nil)
		w.pass(lease / 5)
		w.join(cut, tab("dan", "1"))
		w.pass(lease)
		cut.store.failing(nil)
		w.pass(10 * time.Minute)
		w.present(a, "later", "dan")
	})
}

// A node that comes back with many sessions is not given up again while it records
// them.
func TestManyComeBack(t *testing.T) {
	inWorld(t, func(w *world) {
		cut, a := w.start("cut", false), w.start("a", false)
		const users = 100
		for i := range users {
			w.join(cut, tab(fmt.Sprint(i), "1"))
		}
		cut.store.fail(errCut)
		w.pass(2 * lease)
		cut.store.failing(func(k backend.Key) fault {
			if k.Kind == "member" {
				return fault{slow: time.Second}
			}
			return fault{}
		})
		cut.store.fail(nil)
		w.payloads()
		w.pass(10 * time.Minute)
		if got := len(w.members(a)); got != users {
			t.Errorf("%d of %d are back", got, users)
		}
		if got := len(w.payloads()); got != users {
			t.Errorf("%d events for %d joins", got, users)
		}
	})
}

// After a store was put back to an earlier state, lost members are recorded again, and
// members that came back with it leave.
func TestStorePutBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start("a", false), w.start("b", false)
		get := func(user string) backend.Item {
			it, err := w.b.Get(w.ctx, backend.Key{Kind: "member", Group: channel, Name: user})
			w.must(err)
			return it
		}
		w.join(a, tab("left", "1"))
		old := get("left")
		w.leave(a, "left", "1", presence.Left, 0)
		w.join(b, tab("lost", "1"))
		_, err := w.b.Put(w.ctx, backend.Write{Key: old.Key, Value: old.Value})
		w.must(err)
		w.must(w.b.Delete(w.ctx, get("lost").Key, get("lost").Revision, nil))
		w.pass(time.Second)
		w.present(a, "put back", "left")
		a.Lost()
		b.Lost()
		w.pass(time.Second)
		w.present(a, "soon", "left", "lost")
		w.pass(lease + lease/2)
		w.present(a, "after the lease", "lost")
	})
}

// A session stays that had come from a node which died, where the store was put back
// to when it lived there.
func TestStorePutBackToAnEarlierOwner(t *testing.T) {
	inWorld(t, func(w *world) {
		dead, b := w.start("dead", false), w.start("b", false)
		w.join(dead, tab("ann", "1"))
		k := backend.Key{Kind: "member", Group: channel, Name: "ann"}
		old, err := w.b.Get(w.ctx, k)
		w.must(err)
		dead.kill()
		w.pass(2 * lease)
		w.join(b, tab("ann", "1"))
		now, err := w.b.Get(w.ctx, k)
		w.must(err)
		_, err = w.b.Put(w.ctx, backend.Write{Key: k, Value: old.Value, If: now.Revision})
		w.must(err)
		b.Lost()
		w.pass(10 * time.Minute)
		w.present(b, "later", "ann")
	})
}

// interposed is a store that does something before a record is read.
type interposed struct {
	backend.Store
	before func(backend.Key)
}

func (s *interposed) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	s.before(k)
	return s.Store.Get(ctx, k)
}

// A node that was given up, and has its record again since the store was put back, keeps
// its sessions, also where another node is about to end them.
func TestStorePutBackWhileSessionsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.start("b", false)
		w.join(b, tab("ann", "1"))
		w.payloads()
		var once sync.Once
		store := &interposed{w.b, func(k backend.Key) {
			if k.Kind != "member" {
				return
			}
			once.Do(func() {
				_, err := w.b.Put(w.ctx, backend.Write{Key: backend.Key{Kind: "node", Group: "lease", Name: "b"}, Value: []byte{1}})
				w.must(err)
				b.store.failing(nil)
				b.Lost()
				time.Sleep(time.Second) // in which it finds that all is recorded
			})
		}}
		a := w.startOn(presence.Options{Node: "a", NodeLease: lease}, store, nil)
		b.store.failing(func(k backend.Key) fault { return fault{err: errCut} })
		w.pass(10 * time.Minute)
		once.Do(func() { t.Error("nobody was about to end the session") })
		w.present(a, "later", "ann")
		w.expect("since the store was put back")
	})
}
