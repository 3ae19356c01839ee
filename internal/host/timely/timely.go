// Package timely calls code of the host that may hang: backends, stores and
// policies. A call that ignores the end of its context is abandoned: its caller
// continues, while the call goes on in a goroutine of its own. Calls counts the
// abandoned calls and bounds their number.
package timely

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
)

// Errors of [Do].
var (
	// ErrLeft: the call did not return when its context ended. It goes on, and may
	// have an effect.
	ErrLeft = errors.New("does not return")
	// ErrBusy: this call was not made, since too many earlier ones are abandoned.
	ErrBusy = errors.New("too many earlier calls have not returned")

	errGoexit = errors.New("a call ended its goroutine")
)

// grace is the time in which a call may return after its context has ended, since
// the error of the call itself says best how it ended.
const grace = 250 * time.Millisecond

// Calls are the calls of one kind. Its methods, and Do, may be called concurrently.
type Calls struct {
	most int
	lost func(*Panicked)

	mu      sync.Mutex
	running int
	left    int
	idle    chan struct{} // closed when none is running; nil while no goroutine waits
}

// New returns a Calls that allows at most the given number of abandoned calls. If an
// abandoned call panics, lost is called.
func New(most int, lost func(*Panicked)) *Calls { return &Calls{most: most, lost: lost} }

// Left returns how many abandoned calls have not returned yet.
func (c *Calls) Left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// Wait returns when no call is running, or with the error of ctx.
func (c *Calls) Wait(ctx context.Context) error {
	c.mu.Lock()
	if c.running == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Panicked is the value with which Do panics if its function panics.
type Panicked struct {
	Value any
	Stack []byte
}

func (p *Panicked) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// Unwrap returns the value, if it is an error.
func (p *Panicked) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// call is one call.
type call[T any] struct {
	calls    *Calls
	done     chan struct{} // closed when it has returned
	left     bool          // guarded by calls.mu
	value    T
	err      error
	panicked *Panicked
}

// Do calls f and returns its results. If f does not return within a moment after ctx
// has ended, Do returns an error that matches [ErrLeft] and that of ctx.
func Do[T any](ctx context.Context, c *Calls, f func(context.Context) (T, error)) (value T, err error) {
	one := &call[T]{calls: c, done: make(chan struct{}), err: errGoexit}
	if !c.begin() {
		return value, ErrBusy
	}
	go one.run(ctx, f)
	if !one.await(ctx) && one.leave() {
		return value, fault.Errorf("%w: %w", ErrLeft, context.Cause(ctx))
	}
	if one.panicked != nil {
		panic(one.panicked)
	}
	return one.value, one.err
}

func (c *call[T]) run(ctx context.Context, f func(context.Context) (T, error)) {
	defer func() {
		close(c.done)
		if left := c.end(); left && c.panicked != nil {
			c.calls.lost(c.panicked)
		}
	}()
	err := guard.Call(func() (err error) {
		c.value, err = f(ctx)
		return err
	})
	if p, ok := err.(*guard.Panic); ok {
		c.panicked = &Panicked{p.Value, p.Stack}
	}
	c.err = err
}

// await reports whether the call returns in time.
func (c *call[T]) await(ctx context.Context) bool {
	select {
	case <-c.done:
		return true
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-c.done:
		return true
	case <-late.C:
		return false
	}
}

// leave marks the call as abandoned, and reports whether it had not returned yet.
func (c *call[T]) leave() bool {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	select {
	case <-c.done:
		return false
	default:
	}
	c.left = true
	c.calls.left++
	return true
}

func (c *call[T]) end() (left bool) {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if c.left {
		c.calls.left--
	}
	if c.calls.running--; c.calls.running == 0 && c.calls.idle != nil {
		close(c.calls.idle)
		c.calls.idle = nil
	}
	return c.left
}

func (c *Calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left >= c.most {
		return false
	}
	c.running++
	return true
}
