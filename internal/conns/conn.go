package conns

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/host/turns"
	"golang.org/x/time/rate"
)

// Conn is one connection. The owner sets its exported fields before [Handshake.Add].
type Conn struct {
	// Cancel ends the connection: with an *[Ending], in an orderly way.
	Cancel context.CancelCauseFunc

	// Recheck asks the policy again about what the connection has. Each
	// question takes one of turns.
	Recheck func(ctx context.Context, turns *turns.Turns)

	// Owner is what the connection belongs to. Nil: nobody looks at it.
	Owner Owner

	// Unknown is true of a connection of which it is not known whose it is, until
	// [Handshake.Identify]. It is not taken for that of an anonymous client. Guarded by
	// Conns.mu from Add on.
	Unknown bool

	// Writing is true while the writer waits for the client to read.
	Writing atomic.Bool

	// Rendering is true while the writer waits for a function of the host, which may itself
	// wait for other connections.
	Rendering atomic.Bool

	silent atomic.Bool // nothing is written from now on

	id    uint64        // guarded by Conns.mu
	since time.Time     // likewise
	user  string        // guarded by Conns.mu, as are pace and flood when they are set
	pace  *rate.Limiter // of the user; nil for anonymous
	flood *rate.Limiter // likewise

	mu      sync.Mutex
	drop    func() // frees a goroutine that writes to a client that does not read; nil when it must not be called
	aborted bool
	ended   bool        // End was called
	late    *time.Timer // of End
	removed bool
	done    chan struct{} // closed when it is removed; nil until somebody asks for it
}

// Silence notes that the goroutine that writes has ended. Its owner must call it before
// it waits for others that may call RunOnWriter.
func (c *Conn) Silence() { c.silent.Store(true) }

// Done is closed by [Conns.Remove].
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		if c.done = make(chan struct{}); c.removed {
			close(c.done)
		}
	}
	return c.done
}

// remove closes what Done returns.
func (c *Conn) remove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed = true; c.done != nil {
		close(c.done)
	}
}

// AllowOperation reports whether the user of the connection may do one more operation
// now. It is for the goroutine that identifies the connection, as is AllowFrame.
func (c *Conn) AllowOperation() bool { return c.pace == nil || c.pace.Allow() }

// AllowFrame reports whether the user may send one more frame now.
func (c *Conn) AllowFrame() bool { return c.flood == nil || c.flood.Allow() }

// Abort ends the connection at once, whatever it is doing.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	if c.drop != nil {
		c.drop()
	}
}

// OnAbort sets what Abort calls until the connection is removed. If it was aborted
// before, drop is called now.
func (c *Conn) OnAbort(drop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drop = drop; c.aborted {
		drop()
	}
}

// IsAborted reports whether Abort was called.
func (c *Conn) IsAborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aborted
}

// KickTimeout is how long a client whose rights have ended may take to be told.
const KickTimeout = 500 * time.Millisecond

// End ends the connection, and aborts it if its client is not told within half a
// second.
func (c *Conn) End(why *Ending) {
	c.mu.Lock()
	if !c.ended {
		c.ended, c.late = true, time.AfterFunc(KickTimeout, c.Abort)
	}
	c.mu.Unlock()
	c.Cancel(why)
}

// forget lets go of what Abort and End hold of a connection that is gone.
func (c *Conn) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop = nil
	if c.late != nil {
		c.late.Stop()
	}
}

// IsEnding reports whether End was called.
func (c *Conn) IsEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Expire ends the connection at a time, unless stop is called; the zero time is never.
func (c *Conn) Expire(at time.Time) (stop func() bool) {
	if at.IsZero() {
		return func() bool { return false }
	}
	return time.AfterFunc(time.Until(at), func() { c.End(Expired) }).Stop
}

// RunOnWriter has the goroutine that writes do f, which do hands to it, and returns
// when it is done with it. If the writer waits for a slow client and does not come to
// it within half a second, the connection ends, and RunOnWriter returns false. So it does
// within that time when nothing is written any longer.
func (c *Conn) RunOnWriter(do func(func()), f func()) bool { return c.run(do, f, false) }

// RunOnWriterSoon is RunOnWriter for a caller that a function of the host may wait for: the
// connection also ends if the writer waits for such a function after half a second.
func (c *Conn) RunOnWriterSoon(do func(func()), f func()) bool { return c.run(do, f, true) }

func (c *Conn) run(do func(func()), f func(), soon bool) bool {
	did := make(chan struct{})
	do(func() { f(); close(did) })
	late, removed := time.NewTimer(KickTimeout), c.Done()
	defer late.Stop()
	for {
		select {
		case <-did:
			return true
		case <-late.C:
			switch {
			case c.silent.Load():
				return false
			case c.Writing.Load(), soon && c.Rendering.Load():
				c.End(Rotated)
				return false
			}
			late.Reset(KickTimeout / 10) // the machine is slow, not the client
		case <-removed:
			return false
		}
	}
}

// Ending is why, and how, the server ends a connection.
type Ending struct {
	Reason string           // that the client is told
	Rest   backend.Position // what is in the log up to here is delivered first
	Retry  time.Duration    // when the client may come back
	Code   int              // the WebSocket close code
}

func (e *Ending) Error() string { return "realtime: connection ended: " + e.Reason }

// Closing is the ending of connections to a node that is shut down.
func Closing(rest backend.Position, retry time.Duration) *Ending {
	return &Ending{Reason: "closing", Rest: rest, Retry: retry, Code: 1012}
}

// The other ways in which connections end.
var (
	Rotated = &Ending{Reason: "rotate", Retry: 100 * time.Millisecond, Code: 4503}
	Expired = &Ending{Reason: "expired", Code: 4401}
	Revoked = &Ending{Reason: "revoked", Code: 4403}
	NoHello = &Ending{Reason: "hello_required", Code: 4408}
)
