package realtime

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// conns are the open connections, so that they can be ended.
type conns struct {
	mu          sync.Mutex
	closing     bool
	revocations int // so far
	open        map[*conn]struct{}
	all         sync.WaitGroup
}

// conn is an open connection.
type conn struct {
	user   string                  // guarded by conns.mu
	cancel context.CancelCauseFunc // with an *ending, to end it in an orderly way
	done   chan struct{}           // closed when nothing is written any more

	dropped atomic.Bool
	drop    atomic.Pointer[func()] // frees whoever writes to a client that does not read
}

// abort ends the connection at once, whatever it is doing.
func (c *conn) abort() {
	c.dropped.Store(true)
	if drop := c.drop.Load(); drop != nil {
		(*drop)()
	}
}

// onAbort sets what abort calls.
func (c *conn) onAbort(drop func()) {
	c.drop.Store(&drop)
	if c.dropped.Load() {
		drop()
	}
}

// expire ends the connection when its identity expires, unless stop is called.
func (c *conn) expire(id Identity) (stop func() bool) {
	if id.Expires.IsZero() {
		return func() bool { return false }
	}
	return time.AfterFunc(time.Until(id.Expires), func() { c.cancel(outdated) }).Stop
}

// ending is why, and how, the server ends a connection.
type ending struct {
	reason string
	rest   bool          // what is already in the log is delivered first
	retry  time.Duration // when the client may come back
	code   int           // the WebSocket close code
}

func (e *ending) Error() string { return "realtime: connection ended: " + e.reason }

// The ways in which connections end.
func closing(retry time.Duration) *ending {
	return &ending{reason: "closing", rest: true, retry: retry, code: 1012}
}

var (
	rotated   = &ending{reason: "rotate", rest: true, retry: 100 * time.Millisecond}
	outdated  = &ending{reason: "expired", code: 4401}
	revoked   = &ending{reason: "revoked", code: 4403}
	notPolite = &ending{reason: "hello_required", code: 4408}
)

// over reports whether a connection whose context is ctx has nothing more to
// deliver.
func over(ctx context.Context) bool {
	var end *ending
	return ctx.Err() != nil && !(errors.As(context.Cause(ctx), &end) && end.rest)
}

// seen returns a count for [conns.add] and [conns.identify], to be taken before
// the client is authenticated.
func (cs *conns) seen() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.revocations
}

// add registers a connection; its owner calls remove. It fails once the
// connections are being drained, and if somebody was revoked since seen: perhaps
// this user, just after the policy was asked.
func (cs *conns) add(c *conn, user string, seen int) *refusal {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch {
	case cs.closing:
		return refuse(http.StatusServiceUnavailable, "closing", "the server is going away").retry()
	case cs.revocations != seen:
		return unavailable()
	}
	c.user = user
	if cs.open == nil {
		cs.open = make(map[*conn]struct{})
	}
	c.done = make(chan struct{})
	cs.open[c] = struct{}{}
	cs.all.Add(1)
	return nil
}

// identify says who a connection turned out to be.
func (cs *conns) identify(c *conn, user string, seen int) *refusal {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.revocations != seen {
		return unavailable()
	}
	c.user = user
	return nil
}

func (cs *conns) remove(c *conn) {
	cs.mu.Lock()
	delete(cs.open, c)
	cs.mu.Unlock()
	close(c.done)
	cs.all.Done()
}

// matching returns the open connections that match.
func (cs *conns) matching(match func(*conn) bool) []*conn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var found []*conn
	for c := range cs.open {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// shut lets no new connections in.
func (cs *conns) shut() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closing = true
}

// drain ends all connections.
func (cs *conns) drain(ctx context.Context) error {
	spread := 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		spread = max(time.Until(deadline), time.Second)
	}
	every := func(*conn) bool { return true }
	for _, c := range cs.matching(every) {
		c.cancel(closing(mathrand.N(spread)))
	}
	drop := context.AfterFunc(ctx, func() {
		for _, c := range cs.matching(every) {
			c.abort()
		}
	})
	cs.all.Wait()
	if !drop() {
		return ctx.Err()
	}
	return nil
}

// revokeTime is how long a client may take to hear that it was revoked.
const revokeTime = 500 * time.Millisecond

// Revoke ends the connections of a user, who is told not to come back. When it
// returns nil, nothing more is delivered to them. It does not keep the user out:
// from now on the [Policy] has to. It covers the connections of this node; an
// error means that ctx ended before all of them had.
func (rt *Realtime) Revoke(ctx context.Context, userID string) error {
	rt.conns.mu.Lock()
	rt.conns.revocations++
	rt.conns.mu.Unlock()
	theirs := rt.conns.matching(func(c *conn) bool { return c.user == userID })
	for _, c := range theirs {
		c.cancel(revoked)
	}
	drop := time.AfterFunc(revokeTime, func() {
		for _, c := range theirs {
			c.abort()
		}
	})
	defer drop.Stop()
	for _, c := range theirs {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
