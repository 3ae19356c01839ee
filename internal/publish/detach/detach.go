// Package detach is for steps that cannot be undone: a commit, a rename, a call
// that makes an engine store. If the caller's context could end such a step in the
// middle, the caller would not know whether it has happened. So the step does not
// begin if the context has ended. Once begun, it runs without the context, and
// with a deadline of its own.
package detach

import (
	"context"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
)

// ErrNoAnswer: a call did not return before its own deadline. Its effect may have
// happened.
var ErrNoAnswer = errors.New("no answer in time")

// Context ends with the context of the caller until [Context.Detach] is called.
// After that it ends only by Cancel or a bound of its own. It has the caller's values.
type Context struct {
	context.Context
	caller   context.Context
	cancel   context.CancelCauseFunc
	stop     func() bool // following the caller
	detached bool
}

// New returns a Context. The caller must call Cancel in the end. Detach, Bound and
// Explain must not be called concurrently.
func New(caller context.Context) *Context {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	c := &Context{Context: ctx, caller: caller, cancel: cancel}
	if err := caller.Err(); err != nil {
		cancel(err) // so that c has ended from the beginning
	}
	c.stop = context.AfterFunc(caller, func() { cancel(caller.Err()) })
	return c
}

// Cancel ends c and releases what it holds.
func (c *Context) Cancel() {
	c.stop()
	c.cancel(context.Canceled)
}

// Detach marks the point of no return: from now on the end of the caller's context
// does not end c. If the caller's context has ended already, Detach returns its
// error, and c has ended or is about to.
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

// Explain translates an error of a call with c for the caller. The result matches
// the error of the caller's context only if that ended before the point of no
// return. If a bound has ended c, it matches [ErrNoAnswer].
func (c *Context) Explain(err error) error {
	callerErr := c.caller.Err()
	switch {
	case err == nil:
		return nil
	case context.Cause(c) == ErrNoAnswer:
		return fault.Errorf("%w: %w", ErrNoAnswer, Opaque(err))
	case c.detached: // of a deadline of the callee's own too
		return Opaque(err)
	case callerErr == nil:
		return err
	case errors.Is(err, context.Canceled) && !errors.Is(err, callerErr):
		return fault.Errorf("%w: %w", callerErr, err)
	}
	return err
}

// Opaque returns an error with the text of err that matches what err matches,
// except the errors of package context: the caller would mistake those for the end
// of its own context.
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

// Read calls f, which only reads and may be abandoned at any time, with a deadline
// of d. A panic of f is an error, as of [Call].
func Read(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	c := New(ctx)
	defer c.Cancel()
	defer c.Bound(d)()
	return c.Explain(Call(func() error { return f(c) }))
}

// Write calls f, which cannot be undone. It does not call f if ctx has ended. Once
// called, f does not depend on ctx, and has a deadline of d. A panic of f is an error,
// as of [Call].
func Write(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	c := New(ctx)
	defer c.Cancel()
	if err := c.Detach(); err != nil {
		return err
	}
	defer c.Bound(d)()
	return c.Explain(Call(func() error { return f(c) }))
}

// Call calls f. If f panics, the error says so, with the stack: what f was to do may
// have happened, and the caller must find out and tell.
func Call(f func() error) error {
	err := guard.Call(f)
	if p, ok := err.(*guard.Panic); ok {
		return fault.Errorf("%w\n\n%s", p, p.Stack)
	}
	return err
}
