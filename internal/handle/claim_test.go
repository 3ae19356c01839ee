package handle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

const lease = 10 * time.Second

// cast is a script of nodes that hold one group.
type cast struct {
	t      *testing.T
	b      *memory.Backend
	claims map[string]*Claim
}

func script(t *testing.T, f func(c *cast)) {
	synctest.Test(t, func(t *testing.T) {
		f(&cast{t: t, b: memory.New(memory.Limits{}), claims: make(map[string]*Claim)})
	})
}

func (c *cast) claim(node string) *Claim {
	if c.claims[node] == nil {
		c.claims[node] = NewClaim(c.b, node, "mailer", lease)
	}
	return c.claims[node]
}

func (c *cast) hold(node string) Progress {
	c.t.Helper()
	p, err := c.claim(node).Hold(c.t.Context())
	if err != nil {
		c.t.Fatalf("%s cannot hold the group: %v", node, err)
	}
	return p
}

func (c *cast) refused(node string) {
	c.t.Helper()
	if _, err := c.claim(node).Hold(c.t.Context()); !errors.Is(err, ErrHeld) {
		c.t.Fatalf("Hold of %s returned %v, want ErrHeld", node, err)
	}
}

func (c *cast) commit(node string, p Progress) {
	c.t.Helper()
	if err := c.claim(node).Commit(c.t.Context(), p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cast) noCommit(node string) {
	c.t.Helper()
	if err := c.claim(node).Commit(c.t.Context(), upTo(9, 9)); !errors.Is(err, ErrHeld) {
		c.t.Fatalf("Commit of %s returned %v, want ErrHeld", node, err)
	}
}

func (c *cast) release(node string) {
	c.t.Helper()
	if err := c.claim(node).Release(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cast) expect(step, node string, want Progress) {
	c.t.Helper()
	got := c.hold(node)
	if got.Floor != want.Floor || !slices.Equal(got.Done, want.Done) || !maps.Equal(got.Failed, want.Failed) {
		c.t.Errorf("%s: the progress is %+v, want %+v", step, got, want)
	}
}

func upTo(epoch, floor uint64, done ...uint64) Progress {
	return Progress{Floor: backend.Position{Epoch: epoch, Seq: floor}, Done: done}
}

func failed(p Progress, times map[uint64]int) Progress {
	p.Failed = times
	return p
}

func TestHold(t *testing.T) {
	script(t, func(c *cast) {
		c.expect("never held", "ann", Progress{})
		c.expect("held, nothing committed", "ann", Progress{})
		for range 10 { // renewed, it lasts
			c.refused("bob")
			time.Sleep(lease / 3)
			c.hold("ann")
		}
		c.refused("bob")
		time.Sleep(lease)
		c.refused("bob") // just a lease
		c.noCommit("ann")
		time.Sleep(time.Nanosecond)
		c.hold("bob")
		c.noCommit("ann")
		c.refused("ann")
	})
}

// A node that renews its hold too late has it again at once, unless another one took it.
func TestHoldAgain(t *testing.T) {
	script(t, func(c *cast) {
		c.hold("ann")
		time.Sleep(lease)
		c.noCommit("ann")
		c.hold("ann")
		c.refused("bob")
	})
}

// A node that comes late to a group does not know since when nobody renews it.
func TestHoldOfALateComer(t *testing.T) {
	script(t, func(c *cast) {
		c.hold("ann")
		time.Sleep(time.Hour)
		c.refused("bob")
		time.Sleep(lease + 1)
		c.hold("bob")
	})
}

// lose makes the store forget the record of the group.
func (c *cast) lose() {
	c.t.Helper()
	it, err := c.b.Get(c.t.Context(), key("mailer"))
	if err == nil {
		err = c.b.Delete(c.t.Context(), it.Key, it.Revision, nil)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cast) expectForgotten(want ...string) {
	c.t.Helper()
	for node, claim := range c.claims {
		if got := claim.Forgotten(); got != slices.Contains(want, node) {
			c.t.Errorf("the record of %s's group was forgotten: %v", node, got)
		}
	}
}

// A node that makes the record again without having known it cannot tell that events
// were missed. The others that live can.
func TestForgotten(t *testing.T) {
	script(t, func(c *cast) {
		c.hold("ann")
		c.commit("ann", upTo(1, 5))
		c.refused("bob")
		c.lose()
		c.expect("the record is lost", "cem", Progress{})
		c.commit("cem", upTo(2, 1))
		c.noCommit("ann")
		c.refused("ann")
		c.refused("bob")
		c.commit("cem", upTo(2, 1))
		c.refused("ann") // as before; it is told what it has found out by now
		c.expectForgotten("ann", "bob")
		c.expectForgotten() // once
		c.release("cem")
		c.expect("it is known now", "bob", upTo(2, 1))
		c.expectForgotten()
	})
}

// Where a node that knew the record makes it again, its group tells, and no other does.
func TestForgottenByNobody(t *testing.T) {
	script(t, func(c *cast) {
		c.hold("ann")
		c.refused("bob")
		c.lose()
		c.expect("the record is lost", "bob", Progress{})
		c.refused("cem")
		c.noCommit("ann")
		c.refused("ann")
		c.release("bob")
		c.hold("cem")
		c.expectForgotten()
	})
}

func TestRelease(t *testing.T) {
	script(t, func(c *cast) {
		c.hold("ann")
		c.refused("bob")
		c.release("bob")
		c.refused("bob")
		c.release("ann")
		c.noCommit("ann")
		c.hold("bob")
		c.release("ann")
		c.refused("ann")
	})
}

func TestCommit(t *testing.T) {
	script(t, func(c *cast) {
		c.noCommit("ann")
		c.hold("ann")
		c.commit("ann", upTo(1, 10, 12, 13))
		c.commit("ann", failed(upTo(1, 10, 15), map[uint64]int{11: 1, 14: 2}))
		c.commit("ann", failed(upTo(1, 10), map[uint64]int{11: 2, 13: 1}))
		c.expect("three commits", "ann", failed(upTo(1, 10, 12, 13, 15), map[uint64]int{11: 2, 14: 2}))
		c.commit("ann", upTo(1, 13, 14))
		c.noCommit("bob")
		c.release("ann")
		c.expect("the floor has passed some", "bob", upTo(1, 13, 14, 15))
		c.commit("bob", upTo(1, 9, 10, 16))
		c.expect("an older floor", "bob", upTo(1, 13, 14, 15, 16))
		c.commit("bob", upTo(2, 4, 6))
		c.expect("a newer epoch", "bob", upTo(2, 4, 6))
		c.commit("bob", upTo(1, 90, 95))
		c.expect("an older epoch", "bob", upTo(2, 4, 6))
	})
}

// A commit renews the hold, and the record stays small however far the floor lags.
func TestManyDone(t *testing.T) {
	script(t, func(c *cast) {
		c.hold("ann")
		for i := range uint64(100) {
			var p Progress
			for j := range uint64(100) {
				p.Done = append(p.Done, 1<<40+i*100_000+j*2)
			}
			c.commit("ann", p)
			time.Sleep(lease / 2)
		}
		it, err := c.b.Get(t.Context(), c.claim("ann").key)
		if err != nil || len(it.Value) > 32<<10 {
			t.Errorf("the record has %d bytes, %v", len(it.Value), err)
		}
		if got := c.hold("ann"); len(got.Done) != maxDone {
			t.Errorf("%d events are remembered as done", len(got.Done))
		}
	})
}

// Of many that try at once one holds the group, whatever the store says of the
// outcomes.
func TestOneHolds(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { oneHolds(t, seed) })
		})
	}
}

// doubtful does not always know what it has done.
type doubtful struct {
	backend.Store
	mu     sync.Mutex
	random *rand.Rand
}

func (d *doubtful) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	d.mu.Lock()
	luck := d.random.IntN(10)
	d.mu.Unlock()
	if luck == 0 {
		return 0, backend.ErrMaybeStored
	}
	rev, err := d.Store.Put(ctx, w)
	if luck == 1 && err == nil {
		return 0, backend.ErrMaybeStored
	}
	return rev, err
}

func oneHolds(t *testing.T, seed uint64) {
	store := &doubtful{Store: memory.New(memory.Limits{}), random: rand.New(rand.NewPCG(seed, 0))}
	var mu sync.Mutex
	until := make(map[int]time.Time) // when the hold of a node ends at the latest
	var all sync.WaitGroup
	for i := range 5 {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		c := NewClaim(store, fmt.Sprint("node ", i), "mailer", lease)
		all.Go(func() {
			for range 200 {
				time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
				var err error
				if random.IntN(20) == 0 {
					err = c.Release(t.Context())
				} else {
					_, err = c.Hold(t.Context())
				}
				if err != nil && !errors.Is(err, ErrHeld) && !errors.Is(err, backend.ErrMaybeStored) {
					t.Error(err)
				}
				mu.Lock()
				until[i] = c.Until()
				for j, at := range until {
					if j != i && time.Now().Before(c.Until()) && time.Now().Before(at) {
						t.Errorf("nodes %d and %d hold the group at once", i, j)
					}
				}
				mu.Unlock()
				if random.IntN(30) == 0 {
					time.Sleep(3 * lease) // it hangs
				}
			}
		})
	}
	all.Wait()
}

func TestRecord(t *testing.T) {
	for _, r := range []record{
		{}, {holder: "ann", floor: backend.Position{Epoch: 1, Seq: 1<<64 - 1}},
		{holder: "bob", floor: backend.Position{Epoch: 1 << 60, Seq: 7}, done: map[uint64]struct{}{9: {}, 1 << 50: {}}, failed: map[uint64]int{8: 3}},
		{holder: "cem", origin: "dora"},
	} {
		got, err := decode(backend.Item{Value: r.encode(), Revision: 1})
		if err != nil || !cmp.Equal(got.progress(), r.progress(), cmpopts.EquateEmpty()) || got.holder != r.holder || got.origin != r.origin {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
		whole := len(r.encode())
		for n := range whole {
			if r.origin != "" && n == whole-1-len(r.origin) {
				continue // so earlier releases write it
			}
			if _, err := decode(backend.Item{Value: r.encode()[:n], Revision: 1}); err == nil {
				t.Errorf("the first %d bytes of %+v are a record", n, r)
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	r := record{holder: "ann", floor: backend.Position{Epoch: 1, Seq: 2}, done: map[uint64]struct{}{9: {}}, failed: map[uint64]int{8: 3}}
	f.Add(r.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = decode(backend.Item{Value: data, Revision: 1}) // does not panic
	})
}
