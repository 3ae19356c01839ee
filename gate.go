package realtime

import (
	"context"
	"sync"
)

// gate lets events into the log until it is shut, and knows how many are on
// their way.
type gate struct {
	mu    sync.Mutex
	shut  bool
	in    int
	empty chan struct{} // closed when the gate is shut and nobody is in
}

// enter lets one in, who leaves, or returns [ErrClosed].
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

// close lets nobody in any more, and waits, until ctx ends, for those who are. It
// is called once.
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
