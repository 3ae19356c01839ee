package presence_test

import (
	"fmt"
	"log/slog"
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
	return w.startWith(presence.Options{Node: name, NodeLease: lease, Followed: c.list}), c
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

func longNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%05d%s", i, strings.Repeat("x", 250))
	}
	return names
}

// However many there are, a node writes no more than one record a second, and no
// more than 64 in all.
func TestManyFollowed(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.startFollowing("a")
		b, _, onB, said := w.probedFollowing("b")
		many := longNames(1000)
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
			onB.set(append([]string{"#" + many[0]}, many...)[i%2:]...) // moves all others
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
		if log := said.take(); log != "" {
			t.Errorf("it is said that %s", log)
		}

		many = longNames(20_000)
		onB.set(many...)
		w.pass(20 * time.Second)
		w.recorded("too many", 64)
		got, err := a.Followed(w.ctx)
		w.must(err)
		if len(got) < 14_000 || len(got) > 16_000 {
			w.t.Errorf("%d of %d are listed", len(got), len(many))
		}
		once := func(pass time.Duration) { // once, each time; 64 writes are followed by a pause of 64 s
			w.pass(pass)
			if log := said.take(); strings.Count(log, "more channels are followed here") != 1 {
				t.Errorf("it is said that %.300s", log)
			}
		}
		once(50 * time.Second)
		onB.set("few")
		w.pass(67 * time.Second)
		onB.set(many...)
		once(67 * time.Second)
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

// probedFollowing is startFollowing on a probe.
func (w *world) probedFollowing(name string) (*node, *probe, *channels, *journal) {
	w.t.Helper()
	c, p, said := &channels{}, w.probe(), new(journal)
	log := slog.New(slog.NewTextHandler(said, nil))
	return w.startOn(presence.Options{Node: name, NodeLease: lease, Followed: c.list}, p, log), p, c, said
}

// What cannot be recorded is said, and is recorded when it can be.
func TestFollowedGoesOn(t *testing.T) {
	room := func(_ *world, _ *node, on *channels) { on.set("room") }
	die := func(w *world, _ *node, _ *channels) {
		b, onB := w.startFollowing("b")
		onB.set("other")
		w.pass(3 * time.Second)
		b.kill()
	}
	for name, c := range map[string]struct {
		begin func(w *world, n *node, on *channels)
		fails map[string]error
		want  string // what is followed then
	}{
		"put":               {room, map[string]error{"Put followed": errCut}, "room"},
		"read once more":    {room, map[string]error{"Put followed": backend.ErrConflict, "Get followed": errCut}, "room"},
		"delete":            {func(_ *world, _ *node, on *channels) { on.set() }, map[string]error{"Delete followed": errCut}, ""},
		"read after a loss": {func(_ *world, n *node, _ *channels) { n.Lost() }, map[string]error{"List followed": errCut}, "zebra"},
		"list the dead":     {die, map[string]error{"List every followed": errCut}, "zebra"},
		"ask for the dead":  {die, map[string]error{"Get node": errCut}, "zebra"},
		"delete the dead":   {die, map[string]error{"Delete followed": errCut}, "zebra"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				n, p, on, said := w.probedFollowing("a")
				on.set("zebra")
				w.pass(3 * time.Second)
				c.begin(w, n, on)
				p.failing(func(call string) error { return c.fails[call] })
				w.pass(2 * lease)
				if log := said.take(); strings.Count(log, "presence cannot be kept") < 5 || !strings.Contains(log, errCut.Error()) {
					t.Errorf("it is said that %.300s", log)
				}
				p.failing(nil)
				w.pass(lease)
				if log := said.take(); log != "" {
					t.Errorf("then it is said that %.300s", log)
				}
				other, _ := w.startFollowing("other")
				w.followed(other, "in the end", strings.Fields(c.want)...)
				w.recorded("in the end", len(strings.Fields(c.want)))
			})
		})
	}
}

// A record that was perhaps written, or that another node has deleted, is read once more, and
// written if it must be. Nobody is told of that.
func TestFollowedPerhaps(t *testing.T) {
	for name, c := range map[string]struct {
		names []string
		fails string
		err   error
	}{
		"perhaps put":     {[]string{"room"}, "Put followed", backend.ErrMaybeStored},
		"in conflict":     {[]string{"room"}, "Put followed", backend.ErrConflict},
		"perhaps deleted": {nil, "Delete followed", backend.ErrMaybeStored},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				_, p, on, said := w.probedFollowing("a")
				on.set("zebra")
				w.pass(3 * time.Second)
				p.failing(times(1, c.fails, c.err))
				on.set(c.names...)
				w.pass(5 * time.Second)
				if log, gets, tries := said.take(), p.count("Get followed"), p.count(c.fails); log != "" || gets != 1 || tries != 2 {
					t.Errorf("read %d times, tried %d times; it is said that %s", gets, tries, log)
				}
				other, _ := w.startFollowing("other")
				w.followed(other, "in the end", c.names...)
			})
		})
	}
}

// What a node recorded that died goes, sooner or later, and that of the others stays.
func TestFollowedOfTheLivingStays(t *testing.T) {
	for name, fault := range map[string]error{"": nil, "perhaps": backend.ErrMaybeStored, "in conflict": backend.ErrConflict} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, p, onA, said := w.probedFollowing("a")
				_, onB := w.startFollowing("b")
				c, onC := w.startFollowing("c")
				for i, on := range []*channels{onA, onB, onC} {
					on.set(fmt.Sprint("room ", i))
				}
				w.pass(3 * time.Second)
				p.failing(times(1, "Delete followed", fault))
				c.kill()
				_, err := w.b.Put(w.ctx, backend.Write{Key: backend.Key{Kind: "followed", Group: "nobody", Name: "0"}, Value: []byte("room 3")})
				w.must(err)
				w.followed(a, "before c is given up", "room 1", "room 2")
				w.pass(10 * time.Minute)
				w.followed(a, "after it", "room 1")
				w.recorded("after it", 2)
				if log := said.take(); log != "" {
					t.Errorf("it is said that %s", log)
				}
			})
		})
	}
}

// What is recorded as it should be costs nothing.
func TestNothingToRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		n, p, on, _ := w.probedFollowing("a")
		calls := func(step string, lists, puts, deletes int) {
			t.Helper()
			w.pass(10 * time.Second)
			got := []int{p.count("List followed"), p.count("Put followed"), p.count("Delete followed"), p.count("Get followed")}
			if want := []int{lists, puts, deletes, 0}; !slices.Equal(got, want) {
				t.Errorf("%s: %d lists, puts, deletes and gets, want %d", step, got, want)
			}
			p.failing(nil)
		}
		calls("nothing is followed", 0, 0, 0)
		on.set("b", "a")
		calls("two channels", 0, 1, 0)
		on.set("a", "b")
		calls("in another order", 0, 0, 0)
		for _, name := range []string{"x", "64", "300"} { // of another release
			_, err := w.b.Put(w.ctx, backend.Write{Key: backend.Key{Kind: "followed", Group: "a", Name: name}, Value: []byte("later")})
			w.must(err)
		}
		n.Lost()
		calls("after a loss", 1, 0, 0)
		on.set()
		calls("none is left", 0, 0, 1)
		calls("later", 0, 0, 0)
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

// Writes that fail for want of knowledge are paced like those that do not.
func TestFollowedInConflictIsPaced(t *testing.T) {
	inWorld(t, func(w *world) {
		_, p, on, _ := w.probedFollowing("a")
		w.pass(3 * time.Second)
		p.failing(only("Put followed", backend.ErrConflict))
		on.set("room")
		w.pass(time.Minute)
		if n := p.count("Put followed"); n < 20 || n > 31 {
			t.Errorf("%d writes in a minute", n)
		}
	})
}
