// Package memlink connects the nodes of a simulated cluster to the engine that they
// share, over links that can be cut, and that can delay requests and answers.
package memlink

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
)

// Link is a connection that can be cut. The zero Link is not cut. Its methods may be
// called concurrently.
type Link struct {
	mu   sync.Mutex
	back chan struct{}      // closed when the link is back; nil while it is not cut
	up   context.Context    // ends with the next cut; nil until the first call of Up
	down context.CancelFunc // of up
}

// Cut cuts the link until Heal.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil {
		return
	}
	l.back = make(chan struct{})
	if l.up != nil {
		l.down()
		l.up = nil
	}
}

// Heal ends a cut.
func (l *Link) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil {
		close(l.back)
		l.back = nil
	}
}

// Down reports whether the link is cut.
func (l *Link) Down() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back != nil
}

// Wait waits until the link is not cut, or ctx ends.
func (l *Link) Wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		back := l.back
		l.mu.Unlock()
		if back == nil {
			return ctx.Err()
		}
		select {
		case <-back:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Up returns a context that has ended, or ends, when the link is cut.
func (l *Link) Up() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up == nil {
		l.up, l.down = context.WithCancel(context.Background())
	}
	if l.back != nil {
		l.down()
	}
	return l.up
}

// ErrDown: the engine cannot be reached.
var ErrDown = errors.New("the engine cannot be reached")

// patience is how long a request waits for its answer: a backend bounds each.
const patience = 3 * time.Second

// Call runs do in a goroutine of late, and returns the answer that do gives. The
// goroutine may outlive the call, like a request on its way. If no answer comes in time,
// Call returns the error of ctx, or ErrDown. If do makes changes, they may have been
// made, and the error matches [backend.ErrMaybeStored] as well.
func Call[T any](ctx context.Context, late *sync.WaitGroup, changes bool, do func(answer func(T, error))) (value T, err error) {
	if err := ctx.Err(); err != nil {
		return value, err
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	late.Go(func() { do(func(value T, err error) { answers <- answer{value, err} }) })
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-giveUp.C:
		err = ErrDown
	}
	if changes {
		err = fault.Errorf("%w: %w", backend.ErrMaybeStored, err)
	}
	return value, err
}
