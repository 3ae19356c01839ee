package shard

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/maravilla-realtime/realtime/internal/transport/poll"
)

// socket is a link to a socket of the kernel's.
type socket struct {
	conn  net.Conn
	raw   syscall.RawConn
	watch *poll.Watch
	asked bool // for Writable, which is told from then on whenever it was full
}

// socket returns nil where c is none, or cannot be watched.
func (p *Pool) socket(c net.Conn, ask poll.Events, to poll.Listener) Link {
	poller := p.pollerFor(c)
	if poller == nil {
		return nil
	}
	conn := c.(syscall.Conn)
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	watch, err := poller.Watch(conn, ask, to)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.unwatched(err)
		return nil
	}
	return &socket{conn: c, raw: raw, watch: watch}
}

// Write implements [Link].
func (s *socket) Write(p []byte) (int, error) {
	w := attempts.Get().(*attempt)
	n, err := w.write(s.raw, p)
	attempts.Put(w)
	if n < len(p) && err == nil && !s.asked {
		s.asked = true
		err = s.watch.Ask(poll.Writable)
	}
	return n, err
}

// TryRead implements [Reader].
func (s *socket) TryRead(p []byte) (int, error) {
	r := attempts.Get().(*attempt)
	n, err := r.read(s.raw, p)
	attempts.Put(r)
	return n, err
}

// Close implements [Link].
func (s *socket) Close() {
	s.watch.Stop()
	s.conn.Close()
}

// attempt is a read or a write that is under way. It is kept for the next one, so that
// none allocates.
type attempt struct {
	p       []byte
	n       int
	err     error
	doWrite func(fd uintptr)
	doRead  func(fd uintptr) bool
}

var attempts = sync.Pool{New: func() any { return new(attempt) }}

func (a *attempt) write(c syscall.RawConn, p []byte) (int, error) {
	if a.doWrite == nil {
		a.doWrite = a.tryWrite
	}
	a.p, a.n, a.err = p, 0, nil
	return a.end(c.Control(a.doWrite)) // nobody else writes, so there is nothing to wait for
}

func (a *attempt) read(c syscall.RawConn, p []byte) (int, error) {
	if a.doRead == nil {
		a.doRead = a.tryRead
	}
	a.p, a.n, a.err = p, 0, nil
	return a.end(c.Read(a.doRead))
}

func (a *attempt) end(err error) (int, error) {
	if err == nil {
		err = a.err
	}
	a.p, a.err = nil, nil
	return a.n, err
}

// tryWrite writes until the kernel takes no more.
func (a *attempt) tryWrite(fd uintptr) {
	orderWrite()
	for a.n < len(a.p) {
		n, err := send(fd, a.p[a.n:])
		switch {
		case err == nil:
			a.n += n
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return
		default:
			a.err = err
			return
		}
	}
}

// tryRead reads once. It is always done, so it never waits. Nor does it where the host has
// put the socket into blocking mode: see [send].
func (a *attempt) tryRead(fd uintptr) bool {
	for {
		n, _, err := syscall.Recvfrom(int(fd), a.p, syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN: // nothing
		case err != nil:
			a.err = err
		case n == 0:
			a.err = io.EOF
		default:
			a.n = n
			orderRead(fd)
		}
		return true
	}
}

// pollerFor returns the poller for a connection that is a socket of the kernel's, or
// nil.
func (p *Pool) pollerFor(c net.Conn) *poll.Poller {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn: // and nothing around them that wants to see what is written
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.poller == nil && !p.closed {
		var err error
		if p.poller, err = open(p.start); err != nil {
			p.unwatched(err)
		}
	}
	return p.poller
}

// open makes the poller. If it fails it is called again for the next connection: there
// may be descriptors again by then.
var open = poll.New

// unwatched logs, once, why a connection gets goroutines of its own. It needs Pool.mu.
func (p *Pool) unwatched(err error) {
	if p.told || errors.Is(err, poll.ErrClosed) || errors.Is(err, poll.ErrUnsupported) {
		return
	}
	p.told = true
	p.log.Warn("realtime: a connection cannot be watched and gets goroutines of its own, as may others", "error", err)
}
