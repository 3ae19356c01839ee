// Package detach is for what cannot be taken back: a commit, a rename, the call of
// an engine that stores. A caller whose context ends in the middle of it could not
// tell whether it has happened. So it is not begun if the context has ended, and
// runs apart from it once it has begun, within a time of its own.
package detach

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNoAnswer: a call had not ended when its own time was over. What it was to do
// has perhaps been done.
var ErrNoAnswer = errors.New("no answer in time")

// Context ends with the context of the caller until [Context.Detach], and
// thereafter only by a bound of its own. It has the caller's values.
type Context struct {
	context.Context
	caller   context.Context
	cancel   context.CancelCauseFunc
	stop     func() bool // following the caller
	detached bool
}

// New returns a Context. Whoever has it calls Cancel in the end. Detach, Bound and
// Explain are for one goroutine at a time.
func New(caller context.Context) *Context {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	c := &Context{Context: ctx, caller: caller, cancel: cancel}
	if err := caller.Err(); err != nil {
		cancel(err) // before anything is done with it
	}
	c.stop = context.AfterFunc(caller, func() { cancel(caller.Err()) })
	return c
}

// Cancel ends c and releases what it holds.
func (c *Context) Cancel() {
	c.stop()
	c.cancel(context.Canceled)
}

// Detach passes the point of no return: the end of the caller's context no longer
// ends c. If it has ended already, Detach returns its error, and c has ended or is
// about to.
func (c *Context) Detach() error {
	c.stop()
	if err := c.caller.Err(); err != nil {
		c.cancel(err)
		return err
	}
	if c.Err() != nil { // by a bound
		return context.Cause(c)
	}
	c.detached = true
	return nil
}

// Bound ends c after d with [ErrNoAnswer], unless stop is called before. A negative
// d is no bound.
func (c *Context) Bound(d time.Duration) (stop func()) {
	if d < 0 {
		return func() {}
	}
	t := time.AfterFunc(d, func() { c.cancel(ErrNoAnswer) })
	return func() { t.Stop() }
}

// Explain returns what an error of a call with c is to the caller. It is the
// error of the caller's context only where that ended before the point of no
// return; the end of a bound is [ErrNoAnswer].
func (c *Context) Explain(err error) error {
	callerErr := c.caller.Err()
	switch {
	case err == nil:
		return nil
	case context.Cause(c) == ErrNoAnswer:
		return fmt.Errorf("%w: %w", ErrNoAnswer, Opaque(err))
	case callerErr == nil:
		return err
	case c.detached:
		return Opaque(err)
	case errors.Is(err, context.Canceled) && !errors.Is(err, callerErr):
		return fmt.Errorf("%w: %w", callerErr, err)
	}
	return err
}

// Opaque returns an error that reads as err and is what err is, except that it is
// no error of a context, which the caller would take for its own.
func Opaque(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return opaque{err}
	}
	return err
}

type opaque struct{ err error }

func (o opaque) Error() string { return o.err.Error() }

func (o opaque) Is(target error) bool {
	return target != context.Canceled && target != context.DeadlineExceeded && errors.Is(o.err, target)
}

func (o opaque) As(target any) bool { return errors.As(o.err, target) }

// Read calls f, which can be given up at any time, for d at most.
func Read(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	c := New(ctx)
	defer c.Cancel()
	defer c.Bound(d)()
	return c.Explain(f(c))
}

// Write calls f, which cannot be taken back: not at all if ctx has ended, else
// whatever becomes of ctx, for d at most.
func Write(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	c := New(ctx)
	defer c.Cancel()
	if err := c.Detach(); err != nil {
		return err
	}
	defer c.Bound(d)()
	return c.Explain(f(c))
}
