package handle

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle/progress"
)

// ErrHeld: another node holds the group.
var ErrHeld = errors.New("handle: another node holds the group")

// Progress is the progress of a group in the log.
type Progress = progress.Progress

// Claim is one node's claim on a group, which one node at a time holds. The hold
// lasts for the lease after the last successful call of Hold or Commit, by the
// clock of the holder. Another node may take the group over when it has seen the
// record unchanged for the lease, by its own clock. The methods must not be called
// concurrently; they may block as long as ctx.
type Claim struct {
	store backend.Store
	key   backend.Key
	node  string
	lease time.Duration

	seen  backend.Revision // of the record as it was last read or written
	since time.Time        // when seen was first seen
	rec   record           // as of seen
	until time.Time        // the hold lasts until then; zero: another node holds the group, or none

	origin    string // of the record when this node last knew it; "": it never did
	forgotten bool   // see Forgotten
}

// NewClaim returns the claim of a node on a group.
func NewClaim(store backend.Store, node, group string, lease time.Duration) *Claim {
	return &Claim{store: store, key: key(group), node: node, lease: lease}
}

// Read returns the committed progress of a group, whichever node holds it.
func Read(ctx context.Context, store backend.Store, group string) (Progress, error) {
	it, err := store.Get(ctx, key(group))
	if err != nil {
		return Progress{}, err
	}
	rec, err := decode(it)
	return rec.progress(), err
}

// Holder returns the node that holds a group by its record, "" if none does. known is
// false if no node has ever had the group.
func Holder(ctx context.Context, store backend.Store, group string) (node string, known bool, err error) {
	it, err := store.Get(ctx, key(group))
	if err != nil {
		return "", false, err
	}
	rec, err := decode(it)
	return rec.holder, it.Revision != 0, err
}

func key(group string) backend.Key {
	return backend.Key{Kind: "group", Group: "progress", Name: group}
}

// Hold makes the node the holder, or renews its hold, and returns the committed
// progress of the group: the zero Progress if nothing was committed. It returns
// [ErrHeld] while another node holds the group.
func (c *Claim) Hold(ctx context.Context) (Progress, error) {
	if time.Now().Before(c.until) {
		if err := c.put(ctx, c.rec); !errors.Is(err, ErrHeld) {
			return c.rec.progress(), err
		}
	}
	it, err := c.store.Get(ctx, c.key)
	if err != nil {
		return Progress{}, err
	}
	if it.Revision != c.seen { // which is none in the beginning, as that of a record that is not there
		rec, err := decode(it)
		if err != nil {
			return Progress{}, err
		}
		c.seen, c.since, c.rec, c.until = it.Revision, time.Now(), rec, time.Time{}
		c.forgotten = c.forgotten || c.origin != "" && rec.origin != "" && rec.origin != c.origin
		c.origin = cmp.Or(rec.origin, c.origin)
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
// Floor never goes back. Done and failed events up to Floor, and those of an earlier
// epoch, are dropped. Of the events done after Floor at most 4,096 are stored; the
// others are handled again after a change of holders.
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

// Forgotten reports, once, that the store has lost the record of the group, with its
// progress, and that a node made it again that had not known it. That node cannot tell
// that events were missed. A node that knew the record makes it with the same origin.
func (c *Claim) Forgotten() bool {
	was := c.forgotten
	c.forgotten = false
	return was
}

// Until returns when the hold ends unless it is renewed.
func (c *Claim) Until() time.Time { return c.until }

// FreeIn returns the time until the lease of the other holder ends, as seen by the
// last call of Hold. If it is 0 or less, Hold may succeed.
func (c *Claim) FreeIn() time.Duration { return time.Until(c.since.Add(c.lease)) + 1 }

// put stores the record as that of the holder.
//
// If the outcome is unknown, put tries again. The hold lasts from the moment at which the
// others can see the change. Only a Put that was answered says when that was at the
// latest: a Put without an answer may take effect long after its call.
func (c *Claim) put(ctx context.Context, rec record) error {
	if rec.origin == "" {
		rec.origin = cmp.Or(c.origin, c.node)
	}
	for {
		began := time.Now()
		rev, err := c.store.Put(ctx, backend.Write{Key: c.key, Value: rec.encode(), If: c.seen})
		switch {
		case err == nil:
			c.seen, c.since, c.rec, c.until = rev, began, rec, began.Add(c.lease)
			c.origin = rec.origin
			return nil
		case !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored):
			return err // the end of the hold has not changed
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

// retryAfter is the wait before a Put of unknown outcome is repeated.
const retryAfter = 50 * time.Millisecond

// look reads the record after a Put that conflicted, or whose outcome is unknown.
// It reports whether to try again: only this node has written since.
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
