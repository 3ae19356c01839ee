package shard

import (
	"net"

	"github.com/maravilla-realtime/realtime/internal/poll"
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
	if s := p.socket(c, to); s != nil {
		return s
	}
	l := p.pipe(c, to)
	p.start(l.listen)
	return l
}

// Writer is Link for a connection that somebody else reads: to is not told that the
// peer is gone, or perhaps.
func (p *Pool) Writer(c net.Conn, to poll.Listener) Link {
	if s := p.socket(c, to); s != nil {
		return s
	}
	return p.pipe(c, to)
}
