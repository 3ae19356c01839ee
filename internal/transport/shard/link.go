package shard

import (
	"net"

	"github.com/maravilla-realtime/realtime/internal/transport/poll"
)

// Link is a connection that is written without blocking. Its methods may be called by
// one goroutine only, the task's.
type Link interface {
	// Write takes what it can of p. If that is not all, the listener is told that it is
	// worth to try again with the rest, which must not change until then.
	Write(p []byte) (n int, err error)
	// Close closes the connection. The listener may be told something meanwhile.
	Close()
}

// Link returns a link to a connection, from which nobody else reads: what the peer
// sends is not wanted. to is told when it can be written again, and when the peer is
// gone: by another goroutine, perhaps before Link returns.
//
// A TCP or Unix connection itself needs no goroutine, on Linux. Any other one has one
// that waits for the end of the peer, and one more while it is written.
func (p *Pool) Link(c net.Conn, to poll.Listener) Link {
	if s := p.socket(c, 0, to); s != nil {
		return s
	}
	l := p.pipe(c, to)
	p.start(l.listen)
	return l
}

// Reader reads a connection without blocking. Its method may be called by one goroutine
// only, which may be another one than that which writes.
type Reader interface {
	// TryRead is Read of [net.Conn], except that it returns 0 and no error where that
	// would have to wait. The listener is told when there may be something to read again,
	// if that was not so at the time of the call.
	TryRead(p []byte) (n int, err error)
}

// selfPolled is a connection that needs no poller for what there is to read, as those of
// package memnet, so that tests in virtual time have one.
type selfPolled interface {
	Reader
	OnReadable(func())
}

// Duplex is Link for a connection that is read as well. Where that can be done without
// blocking, r is not nil. Elsewhere nobody tells that there is something to read: a
// goroutine must wait for it. at says whether to may read within the call that tells it.
func (p *Pool) Duplex(c net.Conn, to poll.Listener) (l Link, r Reader, at bool) {
	if s := p.socket(c, poll.Readable, to); s != nil {
		r, at = s.(Reader)
		return s, r, at
	}
	if c, ok := c.(selfPolled); ok {
		c.OnReadable(func() { to.Ready(poll.Readable) })
		r = c
	}
	return p.pipe(c, to), r, false
}
