package conns

import (
	"context"
	"sync"
)

// Gate lets calls in until it is closed, and counts those that are in. The zero Gate is
// open.
type Gate struct {
	mu     sync.Mutex
	closed bool
	in     int
	empty  chan struct{} // closed when the gate is closed and nobody is in
}

// Enter lets one in, who must Leave, unless the gate is closed.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.in++
	return true
}

// Leave is for one who has entered.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in--; g.closed && g.in == 0 {
		close(g.empty)
	}
}

// IsClosed reports whether Close was called.
func (g *Gate) IsClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Close lets nobody in any longer, and waits for those who are in until ctx ends. It
// must be called once.
func (g *Gate) Close(ctx context.Context) {
	g.mu.Lock()
	g.closed, g.empty = true, make(chan struct{})
	if g.in == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	select {
	case <-g.empty:
	case <-ctx.Done():
	}
}
