package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/maravilla-realtime/realtime"
)

// maxPending is the largest number of keys with an event that was not emitted. Beyond
// it an Outbox forgets the oldest of these events.
const maxPending = 1024

// Outbox emits the events of a store's writes, those of one key in the
// order of the writes, and keeps events that it could not emit. It keeps at most
// one pending event for each key: that event is emitted
// when the write is repeated, and at the latest before the next event of the key.
// The caller must hold the lock of the key. Calls for different keys may be
// concurrent.
type Outbox struct {
	pub    realtime.Publisher
	follow func(pending, ev realtime.RenEvent) realtime.RenEvent

	mu      sync.Mutex
	pending map[string]event
	since   uint64 // counts pending events
}

// event is an event that was not emitted, or may not have been.
type event struct {
	ctx   context.Context // of the write, which the event is attributed to
	ev    realtime.RenEvent
	id    string
	maybe bool // the write may not have happened
	told  bool // the event was emitted, but the write returned an error
	since uint64
}

// New returns an Outbox that emits through pub. If an event replaces a pending one
// that was never emitted, follow returns the event to emit instead (after a lost
// "created", an "updated" becomes a "created"); with a nil follow it is unchanged.
func New(pub realtime.Publisher, follow func(pending, ev realtime.RenEvent) realtime.RenEvent) *Outbox {
	return &Outbox{pub: pub, follow: follow, pending: map[string]event{}}
}

// Announce emits the pending event of key, if any, and then ev, the event of a
// write of key. If the pending event cannot be emitted, ev replaces it.
func (o *Outbox) Announce(ctx context.Context, key string, ev realtime.RenEvent) error {
	p := event{ctx: context.WithoutCancel(ctx), ev: ev, id: rand.Text()}
	old := o.of(key)
	if err := o.Flush(key); err != nil {
		if o.follow != nil {
			p.ev = o.follow(old.ev, ev)
		}
		o.keep(key, p)
		return err
	}
	return o.emit(key, p)
}

// Flush emits the pending event of key, if any, before the next write of the
// key. An event of a write that may not have happened (MaybeWritten) is dropped: the event
// of the next write makes clients read the key anyway.
func (o *Outbox) Flush(key string) error {
	p := o.of(key)
	switch {
	case p.id == "":
		return nil
	case p.maybe, p.told:
		o.forget(key)
		return nil
	}
	return o.emit(key, p)
}

// Retry must be called for a write that finds nothing to do, such as the deletion
// of a deleted key. It emits the pending event of key if that has the given
// type, and reports whether it had.
func (o *Outbox) Retry(key, typ string) (pending bool, err error) {
	p := o.of(key)
	switch {
	case p.ev.Type != typ:
		return false, nil
	case p.told:
		o.forget(key)
		return true, nil
	}
	p.maybe = false
	return true, o.emit(key, p)
}

// MaybeWritten keeps the event of a write that failed but may have happened. It is
// emitted if the write is repeated and finds nothing to do (Retry). It replaces a
// pending event that still cannot be emitted, except one of the same type whose write
// did happen.
func (o *Outbox) MaybeWritten(ctx context.Context, key string, ev realtime.RenEvent) {
	if p := o.of(key); p.ev.Type == ev.Type && !p.told {
		return
	}
	_ = o.Flush(key) // the write of that event has returned the error already
	o.keep(key, event{ctx: context.WithoutCancel(ctx), ev: ev, id: rand.Text(), maybe: true})
}

// Remember must be called for a write that was announced but returned an error. If
// it is repeated and finds nothing to do, Retry reports success, and does not emit
// the event again.
func (o *Outbox) Remember(key string, ev realtime.RenEvent) {
	o.keep(key, event{ev: ev, id: rand.Text(), told: true})
}

// emit emits p, and keeps it as pending if it failed and a later try may succeed.
func (o *Outbox) emit(key string, p event) error {
	err := Emit(p.ctx, o.pub, p.ev, p.id)
	if err == nil || errors.Is(err, realtime.ErrLoop) || errors.Is(err, realtime.ErrBadEvent) {
		o.forget(key)
	} else {
		o.keep(key, p)
	}
	return err
}

func (o *Outbox) of(key string) event {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pending[key]
}

func (o *Outbox) forget(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pending, key)
}

func (o *Outbox) keep(key string, p event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since++
	p.since = o.since
	o.pending[key] = p
	if len(o.pending) <= maxPending {
		return
	}
	oldest := key
	for other, p := range o.pending {
		if p.since < o.pending[oldest].since {
			oldest = other
		}
	}
	delete(o.pending, oldest)
}
