package shard

import (
	"net"
	"sync"
	"syscall"

	"github.com/maravilla-realtime/realtime/internal/poll"
)

// socket is a link to a socket of the kernel's.
type socket struct {
	conn  net.Conn
	raw   syscall.RawConn
	watch *poll.Watch
	asked bool // for Writable, which is told from then on whenever it was full
}

// socket returns nil where c is none, or cannot be watched.
func (p *Pool) socket(c net.Conn, to poll.Listener) Link {
	poller := p.pollerFor(c)
	if poller == nil {
		return nil
	}
	conn := c.(syscall.Conn)
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	watch, err := poller.Watch(conn, 0, to)
	if err != nil {
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

// Close implements [Link].
func (s *socket) Close() {
	s.watch.Stop()
	s.conn.Close()
}

// attempt is a write that is under way. It is kept for the next one, so that none
// allocates.
type attempt struct {
	p   []byte
	n   int
	err error
	do  func(fd uintptr) bool
}

var attempts = sync.Pool{New: func() any {
	w := new(attempt)
	w.do = w.try
	return w
}}

func (w *attempt) write(c syscall.RawConn, p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	err := c.Write(w.do)
	if err == nil {
		err = w.err
	}
	w.p, w.err = nil, nil
	return w.n, err
}

// try writes until the kernel takes no more. It is always done, so it never waits.
func (w *attempt) try(fd uintptr) bool {
	for w.n < len(w.p) {
		n, err := syscall.Write(int(fd), w.p[w.n:])
		switch {
		case err == nil:
			w.n += n
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		default:
			w.err = err
			return true
		}
	}
	return true
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
	if p.poller == nil && p.polls == nil && !p.closed {
		p.poller, p.polls = poll.New(p.start)
	}
	return p.poller
}
