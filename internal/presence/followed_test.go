package presence_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// channels are followed on a node of a test.
type channels struct {
	mu    sync.Mutex
	names []string
}

func (c *channels) set(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = names
}

func (c *channels) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.names)
}

// startFollowing starts a node on which something is followed.
func (w *world) startFollowing(name string) (*node, *channels) {
	c := &channels{}
	return w.startWith(presence.Options{Node: name, Lease: lease, Followed: c.list}), c
}

func (w *world) followed(n *node, when string, want ...string) {
	w.t.Helper()
	got, err := n.Followed(w.ctx)
	w.must(err)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s: %d channels, want %d: %.200q, want %.200q", when, len(got), len(want), got, want)
	}
}

func (w *world) recorded(when string, want int) {
	w.t.Helper()
	n := 0
	for _, err := range w.b.List(w.ctx, "followed", "") {
		w.must(err)
		n++
	}
	if n != want {
		w.t.Errorf("%s: %d records, want %d", when, n, want)
	}
}

// Other nodes learn soon which channels a node follows, and forget them soon after it
// follows them no longer or has gone.
func TestFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		a, onA := w.startFollowing("a")
		b, onB := w.startFollowing("b")
		onA.set("both", "only a")
		onB.set("both", "only b", "zebra")
		w.pass(3 * time.Second)
		w.followed(a, "on a", "both", "only b", "zebra")
		w.followed(b, "on b", "both", "only a")
		onB.set("zebra")
		w.pass(3 * time.Second)
		w.followed(a, "later", "zebra")
		onB.set()
		w.pass(3 * time.Second)
		w.followed(a, "in the end")
		w.recorded("in the end", 1)

		onB.set("zebra")
		w.pass(3 * time.Second)
		b.kill()
		w.pass(lease)
		w.followed(a, "after b's lease")
		w.recorded("after b's lease", 1)
		w.pass(10 * time.Minute)
		a.kill()
		c, _ := w.startFollowing("c")
		w.followed(c, "before a's lease is over", "both", "only a")
		w.pass(3 * lease)
		w.followed(c, "after it")
		w.recorded("after it", 0)
	})
}

// A node that was given up and comes back is listed again.
func TestFollowedOfANodeThatComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.startFollowing("a")
		cut, onCut := w.startFollowing("cut")
		onCut.set("room")
		w.pass(3 * time.Second)
		cut.store.fail(errCut)
		w.pass(2 * lease)
		w.followed(a, "cut off")
		onCut.set("other", "room")
		cut.store.fail(nil)
		w.pass(lease)
		w.followed(a, "back", "other", "room")
		w.recorded("back", 1)
	})
}

// However many there are, a node writes no more than one record a second, and no
// more than 64 in all.
func TestManyFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.startFollowing("a")
		b, onB := w.startFollowing("b")
		name := func(i int) string { return fmt.Sprintf("%05d%s", i, strings.Repeat("x", 250)) }
		var many []string
		for i := range 1000 {
			many = append(many, name(i))
		}
		onB.set(many...)
		w.pass(3 * time.Second)
		w.followed(a, "a thousand", many...)
		w.recorded("a thousand", 5)
		w.pass(10 * time.Second)
		onB.set(append(many[:999:999], "zebra")...)
		w.pass(1100 * time.Millisecond)
		w.followed(a, "what is unchanged is not waited for", append(many[:999:999], "zebra")...)
		writes := 0
		b.store.failing(counting(&writes))
		for i := range 100 {
			onB.set(append([]string{fmt.Sprintf("#%d", i)}, many...)...) // moves all others
			w.pass(time.Second)
		}
		b.store.failing(nil)
		if writes < 10 || writes > 105 {
			w.t.Errorf("%d records are written in 100 s", writes)
		}
		w.pass(10 * time.Second)
		onB.set("few")
		w.pass(10 * time.Second)
		w.followed(a, "few", "few")
		w.recorded("few", 1)

		for i := len(many); i < 20_000; i++ {
			many = append(many, name(i))
		}
		onB.set(many...)
		w.pass(20 * time.Second)
		w.recorded("too many", 64)
		got, err := a.Followed(w.ctx)
		w.must(err)
		if len(got) < 14_000 || len(got) > 16_000 {
			w.t.Errorf("%d of %d are listed", len(got), len(many))
		}
		b.kill()
		w.pass(2 * lease)
		w.recorded("after b's lease", 0)
	})
}

// A write that is perhaps lost is made up for.
func TestFollowedUnderFaults(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.startFollowing("a")
		b, onB := w.startFollowing("b")
		changes := 0
		b.store.failing(losing(&changes))
		for i := range 20 {
			onB.set(fmt.Sprint("room ", i))
			w.pass(2 * time.Second)
		}
		b.store.failing(nil)
		if changes < 10 {
			w.t.Fatalf("%d writes", changes)
		}
		w.pass(10 * time.Second)
		w.followed(a, "after the faults", "room 19")
		w.recorded("after the faults", 1)
	})
}

// After a store was put back to an earlier state, its list of followed channels is
// brought up to date.
func TestFollowedInAStoreThatWasPutBack(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.startFollowing("a")
		b, onB := w.startFollowing("b")
		onB.set("room")
		w.pass(3 * time.Second)
		for i := range 2 { // it has another record of b, and one that b had no longer
			k := backend.Key{Kind: "followed", Group: "b", Name: fmt.Sprint(i)}
			it, err := w.b.Get(w.ctx, k)
			w.must(err)
			_, err = w.b.Put(w.ctx, backend.Write{Key: k, Value: []byte("earlier"), If: it.Revision})
			w.must(err)
		}
		b.Lost()
		w.pass(5 * time.Second)
		w.followed(a, "after a loss", "room")
		w.recorded("after a loss", 1)
	})
}

// counting counts the writes of followed channels.
func counting(writes *int) func(backend.Key) fault {
	return func(k backend.Key) fault {
		if k.Kind == "followed" {
			*writes++
		}
		return fault{}
	}
}

// losing makes writes of followed channels late, or fails them, now and then.
func losing(n *int) func(backend.Key) fault {
	return func(k backend.Key) fault {
		if k.Kind != "followed" {
			return fault{}
		}
		*n++
		switch *n % 4 {
		case 0:
			return fault{late: 100 * time.Millisecond}
		case 2:
			return fault{err: errCut}
		}
		return fault{}
	}
}

// Records that this release does not know stay as they are.
func TestFollowedByAnotherRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		b, onB := w.startFollowing("b")
		onB.set("room")
		for _, name := range []string{"x", "-1", "64"} {
			_, err := w.b.Put(w.ctx, backend.Write{Key: backend.Key{Kind: "followed", Group: "b", Name: name}, Value: []byte("later")})
			w.must(err)
		}
		w.pass(3 * time.Second)
		b.Lost()
		w.pass(5 * time.Second)
		w.recorded("after a loss", 4)
		onB.set()
		w.pass(5 * time.Second)
		w.recorded("in the end", 3)
	})
}
