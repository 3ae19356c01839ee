package conns

import (
	"context"
	"sync"
	"time"
)

// Context is the context of a connection. It ends for a reason. While nobody waits for
// that it is a few words of the connection's memory: a context of package context has
// a channel and a map from its first child on. Its methods may be called concurrently.
type Context struct {
	values context.Context

	mu      sync.Mutex
	ended   bool
	cause   error         // of the end
	done    chan struct{} // nil until somebody asks for it
	waiting *waiter
}

// waiter is a function that is called when a context ends.
type waiter struct {
	call       func()
	prev, next *waiter
	waits      bool
}

// Begin sets whose values the context has. It must be called before all else, and the
// context must not be copied after it.
func (c *Context) Begin(values context.Context) { c.values = values }

// End ends the context. The first reason counts. End calls what waits for it.
func (c *Context) End(why error) {
	if why == nil {
		why = context.Canceled
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	if c.ended, c.cause = true, why; c.done != nil {
		close(c.done)
	}
	first := c.waiting
	c.waiting = nil
	for w := first; w != nil; w = w.next {
		w.waits = false
	}
	c.mu.Unlock()
	for w := first; w != nil; w = w.next {
		w.call()
	}
}

// Cause returns why the context has ended; nil if it has not.
func (c *Context) Cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// Err implements [context.Context], as do the methods that follow.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return context.Canceled
	}
	return nil
}

// Done is closed at the end.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		if c.done = make(chan struct{}); c.ended {
			close(c.done)
		}
	}
	return c.done
}

// Parent returns the context for package context to derive others from: these learn of
// the end by AfterFunc. Package context also asks its parent for Done, to see whether it
// can end, or has ended. So that this makes no channel, which the connection would keep,
// what Parent returns has one for all that is closed only if it has ended already: nobody
// else may wait for it.
func (c *Context) Parent() context.Context { return parent{c} }

type parent struct{ *Context }

var never, always = make(chan struct{}), make(chan struct{})

func init() { close(always) }

func (p parent) Done() <-chan struct{} {
	if p.Err() != nil {
		return always
	}
	return never
}

// Deadline says that there is none.
func (c *Context) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is that of the context given to Begin.
func (c *Context) Value(key any) any { return c.values.Value(key) }

// AfterFunc has f called when the context ends, or by a goroutine of its own if it has
// ended. Package context looks for this method, and gives it functions that do not block:
// so they need no goroutine each. stop reports whether f will not be called.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		go f()
		return func() bool { return false }
	}
	w := &waiter{call: f, next: c.waiting, waits: true}
	if w.next != nil {
		w.next.prev = w
	}
	c.waiting = w
	return func() bool { return c.forgetWaiter(w) }
}

func (c *Context) forgetWaiter(w *waiter) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.waits {
		return false
	}
	if w.waits = false; w.prev != nil {
		w.prev.next = w.next
	} else {
		c.waiting = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	return true
}
