package realtime_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// groupLog is a backend that writes down what is committed for groups, and fails
// as it is told to.
type groupLog struct {
	backend.Backend

	mu      sync.Mutex
	commits []backend.Progress // that were taken
	fail    error              // of commits
	claims  error              // of claims
}

func (b *groupLog) set(commits, claims error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail, b.claims = commits, claims
}

func (b *groupLog) taken() []backend.Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.commits)
}

func (b *groupLog) ClaimGroup(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
	b.mu.Lock()
	err := b.claims
	b.mu.Unlock()
	if err != nil {
		return backend.Progress{}, err
	}
	return b.Backend.ClaimGroup(ctx, group, node, ttl)
}

func (b *groupLog) CommitGroup(ctx context.Context, group, node string, p backend.Progress) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if err := b.Backend.CommitGroup(ctx, group, node, p); err != nil {
		return err
	}
	b.commits = append(b.commits, p)
	return nil
}

// A node that learns from a commit that another one has the group gives it up at
// once: it handles nothing more, and what it is handling is told to end.
func TestHoldLostAtACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := &groupLog{Backend: realtime.NewMemory()}, &calls{}
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
		b.set(backend.ErrHeld, backend.ErrHeld)
		h.emit(realtime.KVPut("n", "a")) // its commit is refused
		c.want(t, "h kv.put a", "slow ended")
		h.emit(realtime.KVPut("n", "a"))
		c.want(t) // another node's
		b.set(nil, nil)
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
		b, c := &groupLog{Backend: realtime.NewMemory()}, &calls{}
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
		before := len(b.taken())
		b.set(errors.New("no commits now"), nil)
		h.emit(realtime.KVPut("n", "a"))
		h.emit(realtime.KVPut("n", "fails"))
		c.want(t, "h kv.put a")
		if n := len(b.taken()); n != before {
			t.Fatalf("%d commits were taken while they failed", n-before)
		}
		b.set(nil, nil)
		time.Sleep(5 * time.Second) // the next renewal of the hold
		done, failed := 0, 0
		for _, p := range b.taken()[before:] {
			done += len(p.Done)
			failed += len(p.Failed)
		}
		if done != 1 || failed != 1 {
			t.Errorf("committed are %d events as done and %d as failed, want one of each: %+v", done, failed, b.taken()[before:])
		}
		close(release)
	})
}
