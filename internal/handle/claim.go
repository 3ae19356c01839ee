// Package handle keeps how far each group of handlers has come, over the store of a
// backend, so that an event is handled once per group, however many nodes there are
// and whichever of them dies.
package handle

import (
	"context"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/progress"
)

// ErrHeld: another node holds the group.
var ErrHeld = errors.New("handle: another node holds the group")

// Progress is how far a group has come.
type Progress = progress.Progress

// Claim is what one node does to hold one group. One node at a time holds it. The hold
// lasts for the lease after the last successful call of Hold or Commit, by the
// clock of the holder. Another node takes it over when it has seen the record
// unchanged for the lease, by its own clock. Its methods are for one goroutine at a
// time; they may block as long as ctx.
type Claim struct {
	store backend.Store
	key   backend.Key
	node  string
	lease time.Duration

	seen  backend.Revision // of the record as it was last read or written
	since time.Time        // when seen was first seen
	rec   record           // as of seen
	until time.Time        // the hold lasts until then; zero: it is not ours
}

// New returns the claim of a node on a group.
func New(store backend.Store, node, group string, lease time.Duration) *Claim {
	return &Claim{store: store, key: key(group), node: node, lease: lease}
}

// Read returns what was committed for a group, whoever holds it.
func Read(ctx context.Context, store backend.Store, group string) (Progress, error) {
	it, err := store.Get(ctx, key(group))
	if err != nil {
		return Progress{}, err
	}
	rec, err := decode(it)
	return rec.progress(), err
}

func key(group string) backend.Key {
	return backend.Key{Kind: "group", Group: "progress", Name: group}
}

// Hold makes the node the holder, or continues to hold, and returns what was
// committed for the group: the zero Progress if nothing was. It returns [ErrHeld]
// while another node holds the group.
func (c *Claim) Hold(ctx context.Context) (Progress, error) {
	if time.Now().Before(c.until) {
		if err := c.put(ctx, c.rec); err == nil || !errors.Is(err, ErrHeld) {
			return c.rec.progress(), err
		}
	}
	it, err := c.store.Get(ctx, c.key)
	if err != nil {
		return Progress{}, err
	}
	if it.Revision != c.seen || c.since.IsZero() {
		rec, err := decode(it)
		if err != nil {
			return Progress{}, err
		}
		c.seen, c.since, c.rec, c.until = it.Revision, time.Now(), rec, time.Time{}
	}
	if c.rec.holder != "" && c.rec.holder != c.node && time.Since(c.since) <= c.lease {
		return Progress{}, ErrHeld
	}
	rec := c.rec
	rec.holder = c.node
	if err := c.put(ctx, rec); err != nil {
		return Progress{}, err
	}
	return c.rec.progress(), nil
}

// Commit adds to the progress of the group. It returns [ErrHeld], and changes
// nothing, if the node does not hold the group.
//
// Floor never goes back, and what it passes is forgotten, as is everything of an
// earlier epoch. Of what is done after Floor 4,096 events are remembered; others are
// handled again after a change of holders.
func (c *Claim) Commit(ctx context.Context, p Progress) error {
	if !time.Now().Before(c.until) {
		return ErrHeld
	}
	return c.put(ctx, c.rec.add(p))
}

// Release ends the hold, so that another node can have the group at once. If the
// node does not hold it, it does nothing.
func (c *Claim) Release(ctx context.Context) error {
	if !time.Now().Before(c.until) {
		return nil
	}
	rec := c.rec
	rec.holder = ""
	err := c.put(ctx, rec)
	c.until = time.Time{}
	if errors.Is(err, ErrHeld) {
		return nil
	}
	return err
}

// Until returns when the hold ends unless it is renewed.
func (c *Claim) Until() time.Time { return c.until }

// FreeIn returns how long it takes until the lease of the other holder is over, as
// far as the last call of Hold has seen. It is 0 or less where Hold is worth a try.
func (c *Claim) FreeIn() time.Duration { return time.Until(c.since.Add(c.lease)) + 1 }

// put stores the record as that of the holder.
//
// Where the outcome is unknown, put tries again, because only a Put that was answered
// says from when on the others have seen a change: one that was made may have been
// made long after it began, or by an earlier call.
func (c *Claim) put(ctx context.Context, rec record) error {
	for {
		began := time.Now()
		rev, err := c.store.Put(ctx, backend.Write{Key: c.key, Value: rec.encode(), If: c.seen})
		switch {
		case err == nil:
			c.seen, c.since, c.rec, c.until = rev, began, rec, began.Add(c.lease)
			return nil
		case !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored):
			return err // the hold lasts as long as it did
		}
		again, lookErr := c.look(ctx, errors.Is(err, backend.ErrConflict))
		switch {
		case lookErr != nil && errors.Is(err, backend.ErrMaybeStored) && !errors.Is(lookErr, ErrHeld):
			return err
		case lookErr != nil || !again:
			c.until = time.Time{}
			return ErrHeld
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return err
		}
	}
}

// retryAfter is how long after a Put of unknown outcome it is tried again.
const retryAfter = 50 * time.Millisecond

// look finds out what there is after a Put that conflicted, or whose outcome is
// unknown, and whether to try again: nobody but this node has written since.
func (c *Claim) look(ctx context.Context, conflict bool) (again bool, err error) {
	it, err := c.store.Get(ctx, c.key)
	if err != nil {
		return false, err
	}
	if it.Revision == c.seen {
		return !conflict, nil
	}
	rec, err := decode(it)
	if err != nil {
		return false, err
	}
	if rec.holder != c.node {
		return false, ErrHeld
	}
	c.seen = it.Revision // an earlier Put of this node
	return true, nil
}
