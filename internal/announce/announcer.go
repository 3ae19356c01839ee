package announce

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/maravilla-realtime/realtime"
)

// maxOwed is the largest number of keys with an event that was not emitted. Beyond
// it an Announcer forgets the oldest of these events.
const maxOwed = 1024

// Announcer emits the events of a store's writes, those of one key in the
// order of the writes, and keeps events that it could not emit. It keeps at most
// one event for each key, which the key is then "owed": that event is emitted
// when the write is repeated, and at the latest before the next event of the key.
// The caller must hold the lock of the key. Calls for different keys may be
// concurrent.
type Announcer struct {
	pub    realtime.Publisher
	follow func(owed, ev realtime.RenEvent) realtime.RenEvent

	mu    sync.Mutex
	owed  map[string]debt
	since uint64 // counts debts
}

// debt is an event that was not emitted, or may not have been.
type debt struct {
	ctx   context.Context // of the write, which the event is attributed to
	ev    realtime.RenEvent
	id    string
	doubt bool // the write may not have happened
	told  bool // the event was emitted, but the write returned an error
	since uint64
}

// New returns an Announcer that emits through pub. If an event replaces an owed one
// that was never emitted, follow returns the event to emit instead (after a lost
// "created", an "updated" becomes a "created"); with a nil follow it is unchanged.
func New(pub realtime.Publisher, follow func(owed, ev realtime.RenEvent) realtime.RenEvent) *Announcer {
	return &Announcer{pub: pub, follow: follow, owed: map[string]debt{}}
}

// Announce emits the event that is owed to key, if any, and then ev, the event of a
// write of key. If the owed event cannot be emitted, ev replaces it.
func (a *Announcer) Announce(ctx context.Context, key string, ev realtime.RenEvent) error {
	d := debt{ctx: context.WithoutCancel(ctx), ev: ev, id: rand.Text()}
	old := a.owes(key)
	if err := a.Settle(key); err != nil {
		if a.follow != nil {
			d.ev = a.follow(old.ev, ev)
		}
		a.keep(key, d)
		return err
	}
	return a.emit(key, d)
}

// Settle emits the event that is owed to key, if any, before the next write of the
// key. An event of a write that may not have happened (Doubt) is dropped: the event
// of the next write makes clients read the key anyway.
func (a *Announcer) Settle(key string) error {
	d := a.owes(key)
	switch {
	case d.id == "":
		return nil
	case d.doubt, d.told:
		a.forget(key)
		return nil
	}
	return a.emit(key, d)
}

// Repeat must be called for a write that finds nothing to do, such as the deletion
// of a deleted key. It emits the event that is owed to key if that has the given
// type, and reports whether it had.
func (a *Announcer) Repeat(key, typ string) (owed bool, err error) {
	d := a.owes(key)
	switch {
	case d.ev.Type != typ:
		return false, nil
	case d.told:
		a.forget(key)
		return true, nil
	}
	d.doubt = false
	return true, a.emit(key, d)
}

// Doubt keeps the event of a write that failed but may have happened. It is
// emitted if the write is repeated and finds nothing to do (Repeat). It replaces an
// owed event that still cannot be emitted, except one of the same type whose write
// did happen.
func (a *Announcer) Doubt(ctx context.Context, key string, ev realtime.RenEvent) {
	if d := a.owes(key); d.ev.Type == ev.Type && !d.told {
		return
	}
	_ = a.Settle(key) // the write of that event has returned the error already
	a.keep(key, debt{ctx: context.WithoutCancel(ctx), ev: ev, id: rand.Text(), doubt: true})
}

// Remember must be called for a write that was announced but returned an error. If
// it is repeated and finds nothing to do, Repeat reports success, and does not emit
// the event again.
func (a *Announcer) Remember(key string, ev realtime.RenEvent) {
	a.keep(key, debt{ev: ev, id: rand.Text(), told: true})
}

// emit emits d, and keeps it as owed if it failed and a later try may succeed.
func (a *Announcer) emit(key string, d debt) error {
	err := Emit(d.ctx, a.pub, d.ev, d.id)
	if err == nil || errors.Is(err, realtime.ErrLoop) || errors.Is(err, realtime.ErrBadEvent) {
		a.forget(key)
	} else {
		a.keep(key, d)
	}
	return err
}

func (a *Announcer) owes(key string) debt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owed[key]
}

func (a *Announcer) forget(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.owed, key)
}

func (a *Announcer) keep(key string, d debt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since++
	d.since = a.since
	a.owed[key] = d
	if len(a.owed) <= maxOwed {
		return
	}
	oldest := key
	for other, d := range a.owed {
		if d.since < a.owed[oldest].since {
			oldest = other
		}
	}
	delete(a.owed, oldest)
}
