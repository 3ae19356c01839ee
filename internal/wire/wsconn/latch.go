package wsconn

import "sync"

// latch is shut once. An idle connection has some that nobody waits for: so the channel
// is made for the first one who waits. Its methods may be called concurrently.
type latch struct {
	mu   sync.Mutex
	shut bool
	done chan struct{} // nil until somebody waits
}

// close shuts the latch. Shutting it again does nothing.
func (l *latch) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut {
		if l.shut = true; l.done != nil {
			close(l.done)
		}
	}
}

func (l *latch) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut
}

// wait returns a channel that is closed when the latch is shut.
func (l *latch) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		if l.done = make(chan struct{}); l.shut {
			close(l.done)
		}
	}
	return l.done
}
