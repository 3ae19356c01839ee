package tcp

import (
	"net"
	"time"
)

// Backlog estimates how much of what was written to a slow peer has not reached it.
// TCP shows no progress while such a peer reads what its own kernel holds: the
// window opens by up to 128 KiB at once. So a write, and the answer to a ping, may
// take longer by the time that a link of [Rate] needs for the backlog.
//
// Its methods must not be called concurrently.
type Backlog struct {
	written int64
	open    int64     // bytes that the peer may not have taken
	at      time.Time // when that was estimated
	extra   time.Duration
}

const (
	// Rate is the rate of the slowest link that gets more time for its backlog, in
	// bytes a second.
	Rate = 8 << 10
	// maxExtra is the most time that is added for a write: for what a peer's kernel
	// keeps back.
	maxExtra = 16 * time.Second
	// maxWait is the most time that is added for an answer.
	maxWait = 128 * time.Second
)

// Add notes that n bytes were written.
func (b *Backlog) Add(n int, now time.Time) {
	b.settle(now)
	b.open += int64(n)
	b.written += int64(n)
}

// settle subtracts what has left at Rate since the last estimate.
func (b *Backlog) settle(now time.Time) {
	gone := int64(now.Sub(b.at).Seconds() * Rate)
	b.open, b.at = max(0, b.open-gone), now
}

// Written returns how many bytes were written so far.
func (b *Backlog) Written() int64 { return b.written }

// Confirm notes that the peer has taken the first n bytes.
func (b *Backlog) Confirm(n int64) { b.open = min(b.open, b.written-n) }

// Wait returns how much longer the peer may take to answer, in whole seconds.
func (b *Backlog) Wait(now time.Time) time.Duration {
	b.settle(now)
	return min(time.Duration(b.open/Rate)*time.Second, maxWait)
}

// Allow returns the time for the next write, of a peer that has the time write for one: it
// is longer by whole seconds. If [KeepAlive] was called for c, it makes the kernel wait as
// long. c may be nil.
func (b *Backlog) Allow(c net.Conn, write time.Duration, now time.Time) time.Duration {
	extra := min(b.Wait(now), maxExtra)
	if extra != b.extra && c != nil {
		if tcp := beneath(c); tcp != nil {
			setUserTimeout(tcp, userTimeout(write)+extra)
		}
	}
	b.extra = extra
	return write + extra
}
