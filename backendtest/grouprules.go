package backendtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// A cast is a script of nodes that hold one group. The first thing that goes
// wrong is kept in err, and ends the script.
type cast struct {
	ctx   context.Context
	b     backend.Backend
	group string
	err   error
}

func newCast(ctx context.Context, b backend.Backend) *cast {
	return &cast{ctx: ctx, b: b, group: "backendtest-" + rand.Text()}
}

// hold has node hold the group for long, and returns its progress.
func (c *cast) hold(node string) backend.Progress { return c.holdFor(node, 100*lease) }

func (c *cast) holdFor(node string, ttl time.Duration) (p backend.Progress) {
	if c.err == nil {
		if p, c.err = c.b.ClaimGroup(c.ctx, c.group, node, ttl); c.err != nil {
			c.err = fmt.Errorf("%s cannot hold the group: %w", node, c.err)
		}
	}
	slices.Sort(p.Done)
	return p
}

// refused fails unless node is told that another one holds the group.
func (c *cast) refused(node string) {
	if c.err != nil {
		return
	}
	if _, err := c.b.ClaimGroup(c.ctx, c.group, node, lease); !errors.Is(err, backend.ErrHeld) {
		c.err = fmt.Errorf("ClaimGroup of %s returned %v, not ErrHeld", node, err)
	}
}

func (c *cast) commit(node string, p backend.Progress) {
	if c.err == nil {
		c.err = c.b.CommitGroup(c.ctx, c.group, node, p)
	}
}

// noCommit fails unless node is told that it does not hold the group.
func (c *cast) noCommit(node string) {
	if c.err != nil {
		return
	}
	if err := c.b.CommitGroup(c.ctx, c.group, node, progress(9, 9)); !errors.Is(err, backend.ErrHeld) {
		c.err = fmt.Errorf("CommitGroup of %s returned %v, not ErrHeld", node, err)
	}
}

func (c *cast) release(node string) {
	if c.err == nil {
		c.err = c.b.ReleaseGroup(c.ctx, c.group, node)
	}
}

// pass lets time pass.
func (c *cast) pass(d time.Duration) {
	if c.err == nil {
		c.err = pass(c.ctx, d)
	}
}

// expect compares the progress that node finds with want.
func (c *cast) expect(step, node string, want backend.Progress) {
	got := c.hold(node)
	same := got.Floor == want.Floor && slices.Equal(got.Done, want.Done) && maps.Equal(got.Failed, want.Failed)
	if c.err == nil && !same {
		c.err = fmt.Errorf("%s: the progress is %+v, not %+v", step, got, want)
	}
}

// progress is up to a floor, with some done behind it.
func progress(epoch, floor uint64, done ...uint64) backend.Progress {
	return backend.Progress{Floor: backend.Position{Epoch: epoch, Seq: floor}, Done: done}
}

func failed(p backend.Progress, times map[uint64]int) backend.Progress {
	p.Failed = times
	return p
}

func groupBegins(ctx context.Context, b backend.Backend) error {
	c := newCast(ctx, b)
	c.expect("never held", "ann", backend.Progress{})
	c.expect("held, nothing committed", "ann", backend.Progress{})
	return c.err
}

func oneNodeHolds(ctx context.Context, b backend.Backend) error {
	c := newCast(ctx, b)
	const nodes = 8
	held := make([]bool, nodes)
	errs := make([]error, nodes)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			_, err := b.ClaimGroup(ctx, c.group, fmt.Sprint("node ", i), 100*lease)
			if held[i] = err == nil; !held[i] && !errors.Is(err, backend.ErrHeld) {
				errs[i] = err
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if n := len(slices.DeleteFunc(held, func(held bool) bool { return !held })); n != 1 {
		return fmt.Errorf("%d of %d nodes hold the group", n, nodes)
	}
	return nil
}

func holdRunsOut(ctx context.Context, b backend.Backend) error {
	c := newCast(ctx, b)
	c.holdFor("ann", 2*lease)
	for range 3 {
		c.pass(lease)
		c.refused("bob")
		c.holdFor("ann", 2*lease)
	}
	c.pass(3 * lease)
	c.noCommit("ann")
	c.hold("bob")
	c.refused("ann")
	return c.err
}

func releaseFrees(ctx context.Context, b backend.Backend) error {
	c := newCast(ctx, b)
	c.hold("ann")
	c.release("bob")
	c.refused("bob")
	c.release("ann")
	c.noCommit("ann")
	c.hold("bob")
	c.release("ann")
	c.refused("ann")
	return c.err
}

func commitAddsUp(ctx context.Context, b backend.Backend) error {
	c := newCast(ctx, b)
	c.hold("ann")
	c.commit("ann", progress(1, 10, 12, 13))
	c.commit("ann", failed(progress(1, 10, 15), map[uint64]int{11: 1, 14: 2}))
	c.commit("ann", failed(progress(1, 10), map[uint64]int{11: 2, 13: 1}))
	c.expect("three commits", "ann", failed(progress(1, 10, 12, 13, 15), map[uint64]int{11: 2, 14: 2}))
	c.commit("ann", progress(1, 13, 14))
	c.release("ann")
	c.expect("the floor has passed some", "bob", progress(1, 13, 14, 15))
	return c.err
}

func onlyHolderCommits(ctx context.Context, b backend.Backend) error {
	c := newCast(ctx, b)
	c.noCommit("ann")
	c.hold("ann")
	c.commit("ann", progress(1, 5, 7))
	c.noCommit("bob")
	c.release("ann")
	c.expect("another node", "bob", progress(1, 5, 7))
	c.noCommit("ann")
	c.expect("the former holder tried", "bob", progress(1, 5, 7))
	return c.err
}

func floorNeverGoesBack(ctx context.Context, b backend.Backend) error {
	c := newCast(ctx, b)
	c.hold("ann")
	c.commit("ann", failed(progress(2, 10, 12), map[uint64]int{11: 1}))
	c.commit("ann", progress(2, 9, 10, 13))
	c.expect("an older floor", "ann", failed(progress(2, 10, 12, 13), map[uint64]int{11: 1}))
	c.commit("ann", progress(1, 90, 95))
	c.expect("an older epoch", "ann", failed(progress(2, 10, 12, 13), map[uint64]int{11: 1}))
	c.commit("ann", progress(3, 4, 6))
	c.expect("a newer epoch", "ann", progress(3, 4, 6))
	return c.err
}

func groupsAreApart(ctx context.Context, b backend.Backend) error {
	one, two := newCast(ctx, b), newCast(ctx, b)
	one.hold("ann")
	two.hold("bob")
	one.commit("ann", progress(1, 3, 5))
	two.noCommit("ann")
	two.expect("another group", "bob", backend.Progress{})
	return errors.Join(one.err, two.err)
}
