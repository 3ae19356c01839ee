package realtime_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/jitter"
)

// A backend that does not take commits for a while costs nothing but that.
func TestProgressIsCommittedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, cl := &calls{}, newCluster()
		link := &noCommits{Backend: cl.Backend}
		link.refuse.Store(true)
		register := func(h *host, stuck string) {
			noError(t, h.Group("work", nil, func(g *realtime.Group) error {
				return g.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
					c.add(ev.Key)
					if ev.Key == stuck {
						<-ctx.Done()
					}
					return ctx.Err()
				})
			}))
		}
		a := start(t, open(), &realtime.Options{Backend: link})
		register(a, "0") // so that the floor stays before what is done
		for _, key := range []string{"0", "1", "2"} {
			a.emit(realtime.KVPut("demo", key))
		}
		c.wantSorted(t, "0", "1", "2")
		link.refuse.Store(false)
		time.Sleep(4 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = a.Close(ctx)
		b := start(t, open(), &realtime.Options{Backend: &noCommits{Backend: cl.Backend}})
		register(b, "")
		b.emit(realtime.KVPut("demo", "3"))
		c.wantSorted(t, "0", "3")
		if !strings.Contains(a.logs.String(), "cannot be committed") {
			t.Error("the failures were not logged")
		}
	})
}

// A backend that takes no commits is not asked after each event, and in the end
// gets no more than it needs.
func TestCommitsAreNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link, release := &calls{}, &noCommits{Backend: realtime.NewMemory()}, make(chan struct{})
		link.refuse.Store(true)
		h := start(t, open(), &realtime.Options{Backend: link})
		noError(t, h.Group("work", nil, func(g *realtime.Group) error {
			return errors.Join(
				g.OnKVChange(realtime.KVMatch{Key: "slow"}, func(context.Context, realtime.RenEvent) error { <-release; return nil }),
				g.OnKVChange(realtime.KVMatch{Key: "a"}, c.handler("h")))
		}))
		h.emit(realtime.KVPut("demo", "slow"))
		for range 100 {
			h.emit(realtime.KVPut("demo", "a"))
			c.want(t, "h kv.put a")
		}
		if n := strings.Count(h.logs.String(), "cannot be committed"); n != 1 {
			t.Errorf("%d commits failed", n)
		}
		time.Sleep(4 * time.Second) // what is done after the slow one is not taken, either
		close(release)
		link.refuse.Store(false)
		time.Sleep(4 * time.Second)
		if n := link.largest.Load(); n > 100 { // two names of nodes, and no 100 events
			t.Errorf("a record of %d bytes has events one by one that are all done", n)
		}
	})
}

type noCommits struct {
	backend.Backend
	refuse  atomic.Bool
	largest atomic.Int32 // record of a group, in bytes
}

func (b *noCommits) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if b.refuse.Load() && w.Kind == "group" && w.If != 0 { // else it claims
		return 0, errors.New("no commits now")
	}
	if w.Kind == "group" {
		b.largest.Store(max(b.largest.Load(), int32(len(w.Value))))
	}
	return b.Backend.Put(ctx, w)
}

func (b *noCommits) Close(context.Context) error { return nil }

// The only node there can be does not lose its handlers because it was held up.
func TestTheOnlyNodeNeedsNoLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Backend: &claimedOnce{Backend: realtime.NewMemory()}})
		noError(t, h.OnKVChange(realtime.KVMatch{}, c.handler("h")))
		time.Sleep(time.Hour)
		h.emit(realtime.KVPut("demo", "1"))
		c.want(t, "h kv.put 1")
	})
}

// claimedOnce is a backend of one process that is claimed in time only once.
type claimedOnce struct {
	backend.Backend
	claimed atomic.Bool
}

func (*claimedOnce) SingleProcess() bool { return true }

func (b *claimedOnce) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if w.Kind == "group" && b.claimed.Swap(true) {
		return 0, errors.New("too late")
	}
	return b.Backend.Put(ctx, w)
}

// The nodes that wait for a group take it over when its lease is over, not when they
// next happen to ask.
func TestTakeoverTakesNoLongerThanALease(t *testing.T) {
	defer jitter.Replace(func(d time.Duration) time.Duration { return d - 1 })() // they ask as rarely as they may
	synctest.Test(t, func(t *testing.T) {
		c, cl := &calls{}, newCluster()
		register := func(name string) *nodeLink {
			link := cl.link()
			h := start(t, open(), &realtime.Options{Backend: link})
			noError(t, h.Group("work", nil, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, c.handler(name)) }))
			synctest.Wait()
			return link
		}
		link := register("a")
		register("b")
		noError(t, cl.put("1"))
		c.want(t, "a kv.put 1")
		link.kill()
		synctest.Wait()
		noError(t, cl.put("2"))
		time.Sleep(13400 * time.Millisecond) // the lease, and until they see who held it last
		c.want(t, "b kv.put 2")
	})
}
