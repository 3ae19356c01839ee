// Package poll tells when connections can be written, or read, and when their peers
// are gone, without a goroutine for each: a second epoll set, for whose events the
// runtime's own poller waits. It is there on Linux only.
//
// A Go program cannot ask the runtime's poller for more than one connection at a time.
// But a set of epoll can itself be waited for, and so one goroutine serves all
// connections of a [Poller].
package poll

import "errors"

// Events are what a [Watch] tells of a connection.
type Events uint32

// The events.
const (
	Readable Events = 1 << iota
	Writable
	// Gone: the peer has closed the connection, or its half of it, or reset it. It need
	// not be asked for.
	Gone
)

// Listener is told of events. Ready is called by the goroutine of the [Poller], for
// any of its connections: it must be fast, and must not block.
type Listener interface{ Ready(Events) }

// Errors of a [Poller].
var (
	// ErrUnsupported: there is no poller on this system, or for such a connection.
	ErrUnsupported = errors.New("poll: not supported")
	// ErrClosed: the poller was closed.
	ErrClosed = errors.New("poll: closed")
)
