package publish

import (
	"context"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// settleTime is the time that a node waits for events on their way through the log. They
// are stored, whatever becomes of the wait: a backend that is gone must not block others.
const settleTime = 2 * time.Second

// mark is the greatest position seen.
type mark struct {
	mu  sync.Mutex
	pos backend.Position
}

func (m *mark) raise(pos backend.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pos = m.pos.Max(pos)
}

func (m *mark) get() backend.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pos
}

// Now returns the place in the log after all events that this node knows of.
func (p *Publisher) Now() backend.Position { return p.ring.Head().Max(p.accepted.get()) }

// Settle waits, for at most 2 s, until the events appended by this node have come back
// through the log, so that they can be delivered.
func (p *Publisher) Settle(ctx context.Context) { p.Reach(ctx, p.accepted.get()) }

// Reach waits, for at most 2 s, until the node has read the log up to a place.
func (p *Publisher) Reach(ctx context.Context, pos backend.Position) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	_ = p.ring.Wait(ctx, pos)
}

// CatchUp waits, for at most 2 s, until the node has read what the log has now.
func (p *Publisher) CatchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	page, err := p.log.Read(ctx, backend.Position{}, 0)
	if err != nil {
		return err
	}
	return p.ring.Wait(ctx, page.Head)
}
