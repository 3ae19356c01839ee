package realtime

import (
	"context"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Cursor is an opaque place in the log. See [Realtime.Cursor].
type Cursor string

// Cursor returns the place up to which this node has read the log. A reader that
// begins there, with [Realtime.WaitFor] or as a client, gets all events that happen
// after the call. Cursor does not block.
func (rt *Realtime) Cursor() Cursor { return Cursor(wire.Cursor(rt.ring.Head())) }

// mark is the greatest position seen.
type mark struct {
	mu  sync.Mutex
	pos backend.Position
}

func (m *mark) raise(pos backend.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pos.Compare(m.pos) > 0 {
		m.pos = pos
	}
}

// now returns the place in the log after all events that this node knows of.
func (rt *Realtime) now() backend.Position { return rt.ring.Head().Max(rt.accepted.get()) }

func (m *mark) get() backend.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pos
}

// settleTime is the time that Close waits for events on their way through the log.
const settleTime = 2 * time.Second

// waitAccepted waits until the events appended by this node have come back through the
// log, so that they can be delivered.
func (rt *Realtime) waitAccepted(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	_ = rt.ring.Wait(ctx, rt.accepted.get()) // a backend that is gone must not block Close
}

// tellPublished says where an event stands in the log, to who has asked, when this
// node knows the place.
func (rt *Realtime) tellPublished(ctx context.Context, pos backend.Position, cursor *Cursor) {
	if cursor == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	_ = rt.ring.Wait(ctx, pos) // the event is stored, whatever becomes of this
	*cursor = Cursor(wire.Cursor(pos))
}
