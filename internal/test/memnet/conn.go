package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is a connection with both its ends.
type Conn struct {
	listener       *Listener
	client, server *end

	mu           sync.Mutex
	changed      sync.Cond // anything below, or in the ends
	cut, stalled bool
}

func newConn(l *Listener) *Conn {
	c := &Conn{listener: l}
	c.changed.L = &c.mu
	c.client, c.server = &end{conn: c}, &end{conn: c}
	c.client.peer, c.server.peer = c.server, c.client
	return c
}

// Cut breaks the connection like a TCP reset: present and later reads and writes fail
// at both ends with ECONNRESET.
func (c *Conn) Cut() {
	c.change(func() { c.cut = true })
	c.listener.remove(c)
}

// Stall makes the connection silent: reads and writes of both ends wait, and
// neither end notices when the other one closes. Deadlines and Close work.
func (c *Conn) Stall() { c.change(func() { c.stalled = true }) }

// Resume ends a stall. Nothing was lost.
func (c *Conn) Resume() { c.change(func() { c.stalled = false }) }

func (c *Conn) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.tell()
}

// tell tells everybody that something has changed.
func (c *Conn) tell() {
	c.changed.Broadcast()
	for _, e := range []*end{c.client, c.server} {
		if e.readable != nil && !e.closed && e.canRead() {
			e.readable()
		}
	}
}

// end is one end of a connection. Its state is guarded by conn.mu.
type end struct {
	conn *Conn
	peer *end

	closed          bool
	readable        func() // nil: nobody asked
	writing         bool
	out             []byte // bytes of a Write that the peer has not read yet
	readBy, writeBy deadline
}

// Read implements [net.Conn].
func (e *end) Read(p []byte) (n int, err error) {
	e.conn.mu.Lock()
	defer e.conn.mu.Unlock()
	for {
		if err := e.broken("read", &e.readBy); err != nil {
			return 0, err
		}
		switch {
		case e.conn.stalled:
		case len(e.peer.out) > 0 || len(p) == 0:
			n = copy(p, e.peer.out)
			e.peer.out = e.peer.out[n:]
			e.conn.changed.Broadcast()
			return n, nil
		case e.peer.closed:
			return 0, io.EOF
		}
		e.conn.changed.Wait()
	}
}

// TryRead is Read, except that it returns 0 and no error where Read would wait.
func (e *end) TryRead(p []byte) (n int, err error) {
	e.conn.mu.Lock()
	ready := e.closed || e.canRead()
	e.conn.mu.Unlock()
	if !ready {
		return 0, nil
	}
	return e.Read(p)
}

// OnReadable has f called when there is something to read, or when reading fails, and
// once more whenever something changes meanwhile. f must not block, nor use the
// connection.
func (e *end) OnReadable(f func()) { e.conn.change(func() { e.readable = f }) }

// canRead reports whether reading need not wait. It needs Conn.mu.
func (e *end) canRead() bool {
	return e.conn.cut || !e.conn.stalled && (len(e.peer.out) > 0 || e.peer.closed)
}

// Write implements [net.Conn]. It returns when the peer has read all of p.
func (e *end) Write(p []byte) (n int, err error) {
	e.conn.mu.Lock()
	defer e.conn.mu.Unlock()
	for e.writing { // a mutex would keep virtual time from moving
		if err := e.broken("write", &e.writeBy); err != nil {
			return 0, err
		}
		e.conn.changed.Wait()
	}
	e.writing, e.out = true, p
	e.conn.tell()
	for err = e.unwritable(); err == nil && len(e.out) > 0; err = e.unwritable() {
		e.conn.changed.Wait()
	}
	n = len(p) - len(e.out)
	if n > 0 && n == len(p) {
		err = nil // the peer had read all of p before the connection broke
	}
	e.writing, e.out = false, nil
	e.conn.changed.Broadcast()
	return n, err
}

// broken returns the error of a read or write that cannot succeed, or nil.
func (e *end) broken(op string, d *deadline) error {
	switch {
	case e.closed:
		return opError(op, net.ErrClosed)
	case d.passed:
		return opError(op, os.ErrDeadlineExceeded)
	case e.conn.cut:
		return opError(op, syscall.ECONNRESET)
	}
	return nil
}

func (e *end) unwritable() error {
	if err := e.broken("write", &e.writeBy); err != nil {
		return err
	}
	if e.peer.closed && !e.conn.stalled {
		return opError("write", syscall.EPIPE)
	}
	return nil
}

func opError(op string, err error) error {
	return &net.OpError{Op: op, Net: addr{}.Network(), Addr: addr{}, Err: err}
}

// Close implements [net.Conn].
func (e *end) Close() error {
	both := false
	e.conn.change(func() {
		e.closed = true
		e.readBy.set(e.conn, time.Time{})
		e.writeBy.set(e.conn, time.Time{})
		both = e.peer.closed
	})
	if both {
		e.conn.listener.remove(e.conn)
	}
	return nil
}

// SetDeadline implements [net.Conn].
func (e *end) SetDeadline(t time.Time) error { return e.set(t, &e.readBy, &e.writeBy) }

// SetReadDeadline implements [net.Conn].
func (e *end) SetReadDeadline(t time.Time) error { return e.set(t, &e.readBy) }

// SetWriteDeadline implements [net.Conn].
func (e *end) SetWriteDeadline(t time.Time) error { return e.set(t, &e.writeBy) }

func (e *end) set(t time.Time, deadlines ...*deadline) (err error) {
	e.conn.change(func() {
		if e.closed {
			err = opError("set", net.ErrClosed)
			return
		}
		for _, d := range deadlines {
			d.set(e.conn, t)
		}
	})
	return err
}

// LocalAddr implements [net.Conn].
func (e *end) LocalAddr() net.Addr { return addr{} }

// RemoteAddr implements [net.Conn].
func (e *end) RemoteAddr() net.Addr { return addr{} }

// deadline is guarded by the mutex of its connection.
type deadline struct {
	timer  *time.Timer // nil if none runs
	passed bool
}

func (d *deadline) set(c *Conn, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.passed = nil, false
	wait := time.Until(t)
	switch {
	case t.IsZero():
	case wait <= 0:
		d.passed = true
	default:
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			c.change(func() { d.passed = d.passed || d.timer == timer })
		})
		d.timer = timer
	}
}
