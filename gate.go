package realtime

import (
	"context"
	"sync"
)

// gate admits events to the log until it is closed, and counts those on their way.
type gate struct {
	mu    sync.Mutex
	shut  bool
	in    int
	empty chan struct{} // closed when the gate is closed and no event is inside
}

// enter admits one event, or returns [ErrClosed]. The caller must call leave.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return ErrClosed
	}
	g.in++
	return nil
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in--; g.shut && g.in == 0 {
		close(g.empty)
	}
}

// close admits no more events, and waits, until ctx ends, for those inside. It must be
// called once.
func (g *gate) close(ctx context.Context) {
	g.mu.Lock()
	g.shut, g.empty = true, make(chan struct{})
	if g.in == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	select {
	case <-g.empty:
	case <-ctx.Done():
	}
}
