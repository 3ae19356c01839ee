package announce

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/maravilla-realtime/realtime"
)

// maxOwed is how many keys an Announcer owes an event at most. It then forgets
// what it has owed for longest.
const maxOwed = 1024

// Announcer emits the events of the writes of a store, those of a key in the
// order of its writes, and keeps what it could not emit. A key is owed one event:
// it is emitted when the write is repeated, or else before the next of its key.
// Who calls has the key locked; calls for different keys are concurrent.
type Announcer struct {
	pub    realtime.Publisher
	follow func(owed, ev realtime.RenEvent) realtime.RenEvent

	mu    sync.Mutex
	owed  map[string]debt
	since uint64 // counts debts
}

// debt is an event that was not emitted, or perhaps not.
type debt struct {
	ctx   context.Context // of the write, which the event is attributed to
	ev    realtime.RenEvent
	id    string
	doubt bool // whether the write has happened is not known
	told  bool // it was emitted, but its writer was told of a failure
	since uint64
}

// New returns an Announcer that emits through pub. Where an event takes the place
// of one that nobody has heard of, follow says what it is then; nil: what it was.
func New(pub realtime.Publisher, follow func(owed, ev realtime.RenEvent) realtime.RenEvent) *Announcer {
	return &Announcer{pub: pub, follow: follow, owed: map[string]debt{}}
}

// Announce emits the event of a write of key, and before it the one that is owed.
// Where that fails, ev takes its place.
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

// Settle emits what is owed to key, if anything, before something else happens to
// it. A write that has perhaps happened is none any more: what happens next shows
// what is there.
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

// Repeat is for a write of which nothing is left to do. It emits what is owed to
// key if that is of the type of its event, and says whether it was.
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

// Doubt keeps the event of a write that failed, but has perhaps happened: it is
// emitted if the write is repeated and there is nothing left to do. It takes the
// place of what is owed and still cannot be emitted, but not of its like, which is
// not in doubt.
func (a *Announcer) Doubt(ctx context.Context, key string, ev realtime.RenEvent) {
	if d := a.owes(key); d.ev.Type == ev.Type && !d.told {
		return
	}
	_ = a.Settle(key) // its writer has been told
	a.keep(key, debt{ctx: context.WithoutCancel(ctx), ev: ev, id: rand.Text(), doubt: true})
}

// Remember is for a write that was announced, but failed for its writer: if it is
// repeated and there is nothing left to do, it succeeds, and is not emitted again.
func (a *Announcer) Remember(key string, ev realtime.RenEvent) {
	a.keep(key, debt{ev: ev, id: rand.Text(), told: true})
}

// emit keeps d for as long as trying again can help.
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
