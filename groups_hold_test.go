package realtime_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// unwilling is a backend that writes no record of a group while it has an error to
// return.
type unwilling struct {
	backend.Backend

	mu  sync.Mutex
	err error
}

func (b *unwilling) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *unwilling) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil && w.Kind == "group" {
		return 0, b.err
	}
	return b.Backend.Put(ctx, w)
}

// committed returns how many events are said to be done, and to have failed.
func (b *unwilling) committed(t *testing.T) (done, failed int) {
	t.Helper()
	p, err := realtime.GroupProgress(t.Context(), b, "work")
	if err != nil {
		t.Fatal(err)
	}
	return len(p.Done), len(p.Failed)
}

// A node that learns from a commit that another one has the group gives it up at
// once: it handles nothing more, and what it is handling is told to end.
func TestHoldLostAtACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := &unwilling{Backend: realtime.NewMemory()}, &calls{}
		h := start(t, open(), &realtime.Options{Backend: b})
		noError(t, h.Group("work", nil, func(g *realtime.Group) error {
			return errors.Join(
				g.OnKVChange(realtime.KVMatch{Key: "slow"}, func(ctx context.Context, _ realtime.RenEvent) error {
					<-ctx.Done()
					c.add("slow ended")
					return ctx.Err()
				}),
				g.OnKVChange(realtime.KVMatch{Key: "a"}, c.handler("h")))
		}))
		h.emit(realtime.KVPut("n", "slow"))
		synctest.Wait()
		c.want(t)
		b.set(backend.ErrConflict)
		h.emit(realtime.KVPut("n", "a")) // its commit is refused
		c.want(t, "h kv.put a", "slow ended")
		h.emit(realtime.KVPut("n", "a"))
		c.want(t) // another node's
		b.set(nil)
		time.Sleep(10 * time.Second)
		if got := c.take(); len(got) != 2 { // where the other one has committed nothing
			t.Errorf("handled %q after the hold is back", got)
		}
	})
}

// Whatever a failed commit was to say, that an event is done and that one has
// failed, is said by the next.
func TestFailedCommitIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := &unwilling{Backend: realtime.NewMemory()}, &calls{}
		h := start(t, open(), &realtime.Options{Backend: b})
		release := make(chan struct{})
		noError(t, h.Group("work", &realtime.GroupOptions{Backoff: time.Hour, MaxBackoff: time.Hour}, func(g *realtime.Group) error {
			return errors.Join(
				g.OnKVChange(realtime.KVMatch{Key: "stuck"}, func(context.Context, realtime.RenEvent) error { <-release; return nil }),
				g.OnKVChange(realtime.KVMatch{Key: "fails"}, func(context.Context, realtime.RenEvent) error { return errors.New("not now") }),
				g.OnKVChange(realtime.KVMatch{Key: "a"}, c.handler("h")))
		}))
		h.emit(realtime.KVPut("n", "stuck")) // the floor stays before it
		synctest.Wait()
		b.set(errors.New("no commits now"))
		h.emit(realtime.KVPut("n", "a"))
		h.emit(realtime.KVPut("n", "fails"))
		c.want(t, "h kv.put a")
		if done, failed := b.committed(t); done+failed != 0 {
			t.Fatalf("%d and %d events are committed while commits fail", done, failed)
		}
		b.set(nil)
		time.Sleep(5 * time.Second) // the next renewal of the hold
		if done, failed := b.committed(t); done != 1 || failed != 1 {
			t.Errorf("committed are %d events as done and %d as failed, want one of each", done, failed)
		}
		close(release)
	})
}
