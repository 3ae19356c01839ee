package handle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
)

// calls notes what a handler is called for: "key/attempt".
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) handle(_ context.Context, d Delivery) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf("%s/%d", d.Event.Key, d.Attempt))
	return nil
}

// missed is called by the goroutine that reads and by those of lanes.
func (c *calls) missed(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, "missed "+reason)
}

func (c *calls) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.list)
	if !slices.Equal(c.list, want) {
		t.Errorf("called for %q, want %q", c.list, want)
	}
	c.list = nil
}

// Drain waits for what handlers cause, as deep as they may, and settles once where they
// cause nothing.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		settled, caused := 0, 0
		s.node.Settle = func(context.Context) {
			if settled++; caused > 0 {
				caused--
				s.put("caused")
			}
		}
		var c calls
		s.group("mailer", Options{}, func(ctx context.Context, d Delivery) error {
			time.Sleep(time.Millisecond)
			return c.handle(ctx, d)
		})
		s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Drain(ctx); err != nil || settled != 1 || !s.Has("mailer") {
			t.Errorf("%v, settled %d times", err, settled)
		}
		caused = s.node.Depth
		s.put("first")
		if err := s.Drain(ctx); err != nil || caused != 0 {
			t.Errorf("%v, %d are not caused", err, caused)
		}
		c.expect(t, append(slices.Repeat([]string{"caused/1"}, s.node.Depth), "first/1")...)
		s.close()
	})
}

// A group ends with its backend, and quietly with its node. Nobody waits for it then.
func TestEndOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faulty{Store: memory.New(memory.Limits{}), gets: []error{backend.ErrClosed}}
		s := groupsOver(t, store)
		g := s.group("mailer", Options{}, (&calls{}).handle)
		s.work.Wait() // without stop
		s.put("a")
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := g.waitHandled(ctx, s.ring.Head()); err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.close()
	})
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, hanging{memory.New(memory.Limits{})})
		s.group("mailer", Options{}, (&calls{}).handle)
		s.close()
		if s.logs.Len() > 0 {
			t.Error(&s.logs)
		}
	})
}

// hanging is a store that answers no Get.
type hanging struct{ backend.Store }

func (hanging) Get(ctx context.Context, _ backend.Key) (backend.Item, error) {
	<-ctx.Done()
	return backend.Item{}, ctx.Err()
}

// A group that another node has brought further than this node's history waits for it,
// and does not handle what is done.
func TestHistoryLagsTheProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Limits{})
		ann := NewClaim(store, "ann", "mailer", lease)
		_, err := ann.Hold(t.Context())
		if err := errors.Join(err, ann.Commit(t.Context(), failed(upTo(1, 3, 5), map[uint64]int{6: 1})), ann.Release(t.Context())); err != nil {
			t.Fatal(err)
		}
		for _, puts := range []int{0, 7} {
			s := groupsOver(t, store)
			var c calls
			s.group("mailer", Options{}, c.handle)
			want := []string(nil)
			for i := range puts {
				s.put(fmt.Sprint(i + 1))
				want = []string{"4/1", "6/2", "7/1"}
			}
			c.expect(t, want...)
			s.close() // even while it waits
		}
	})
}

// What was done and has failed in an epoch says nothing of another.
func TestProgressOfAnotherEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Limits{})
		ann := NewClaim(store, "ann", "mailer", lease)
		_, err := ann.Hold(t.Context())
		if err := errors.Join(err, ann.Commit(t.Context(), failed(upTo(1, 0, 2), map[uint64]int{3: 2})), ann.Release(t.Context())); err != nil {
			t.Fatal(err)
		}
		s := groupsOver(t, store)
		var c calls
		release := make(chan struct{})
		g := s.group("mailer", Options{Missed: c.missed}, func(ctx context.Context, d Delivery) error {
			if d.Event.Key == "slow" {
				<-release
			}
			return c.handle(ctx, d)
		})
		s.put("slow")
		s.ring.Reset(backend.Position{Epoch: 2})
		synctest.Wait()
		s.put("1", "2", "3")
		c.expect(t, "1/1", "2/1", "3/1", "missed "+string(ring.Epoch))
		close(release)
		c.expect(t, "slow/1")
		if g.Pending() != 0 {
			t.Errorf("%d wait", g.Pending())
		}
		s.close()
		c.expect(t)
		if p := s.progress("mailer"); p.Floor != (backend.Position{Epoch: 2, Seq: 3}) {
			t.Errorf("the progress is %+v", p)
		}
	})
}

// An event that the history has evicted before its turn is told as missed, and waits no
// longer. A group with more waiting than it may have ends all the same.
func TestEvictedBeforeItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		var c calls
		release := make(chan struct{})
		g := s.group("mailer", Options{Missed: c.missed}, func(ctx context.Context, d Delivery) error {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil
		})
		s.put(slices.Repeat([]string{"a"}, 10)...)
		if g.Pending() != 10 {
			t.Errorf("%d wait", g.Pending())
		}
		s.put(slices.Repeat([]string{"a"}, 95)...) // the history has 100
		close(release)
		c.expect(t, "missed "+string(ring.Evicted))
		if g.Pending() != 0 {
			t.Errorf("%d wait", g.Pending())
		}
		release = make(chan struct{})
		s.put(slices.Repeat([]string{"a"}, 150)...)
		s.close()
	})
}

// A node whose group was made again by another is told that events were missed.
func TestForgottenGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cast{t: t, b: memory.New(memory.Limits{}), claims: make(map[string]*Claim)}
		c.hold("ann")
		s := groupsOver(t, c.b)
		var told calls
		s.group("mailer", Options{Missed: told.missed}, told.handle)
		c.lose()
		c.hold("cem")
		time.Sleep(groupLease / 2)
		s.close()
		told.expect(t, "missed "+string(ring.Lost))
	})
}

// A panic is an error that says whose function it was. It is logged as a panic, and
// its event as one that was not handled.
func TestPanicOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := groupsOver(t, memory.New(memory.Limits{}))
		s.group("mailer", Options{Attempts: 1}, func(context.Context, Delivery) error { panic("oops") })
		s.put("a")
		s.close()
		if logs := s.logs.String(); strings.Count(logs, "level=ERROR") != 2 || !strings.Contains(logs, "realtime: handler: ") {
			t.Error(logs)
		}
	})
}
