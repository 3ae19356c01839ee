// Package memnet is a network in memory, for tests in virtual time: real sockets
// keep the clock of a testing/synctest bubble from moving. Tests can break and stall
// it.
package memnet

import (
	"context"
	"net"
	"slices"
	"sync"
)

// Listener accepts connections dialed with Dial. A connection has no buffers: a
// peer that does not read stalls the other one at once.
type Listener struct {
	dialed chan net.Conn
	closed chan struct{}

	mu       sync.Mutex
	isClosed bool
	conns    []*Conn       // the open ones, in the order of dialing
	stalled  chan struct{} // closed by Resume; nil while nothing is stalled
}

// Listen returns a new Listener.
func Listen() *Listener {
	return &Listener{dialed: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial connects to the listener. It has the signature of http.Transport.DialContext.
func (l *Listener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c := newConn(l)
	for {
		stalled, err := l.add(c)
		if err != nil {
			return nil, err
		}
		if stalled == nil {
			break
		}
		select {
		case <-stalled:
		case <-l.closed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case l.dialed <- c.server:
		return c.client, nil
	case <-l.closed:
		l.remove(c)
		return nil, net.ErrClosed
	case <-ctx.Done():
		l.remove(c)
		return nil, ctx.Err()
	}
}

// add adds c. While the network is stalled, it returns the channel to wait for.
func (l *Listener) add(c *Conn) (stalled <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.isClosed:
		return nil, net.ErrClosed
	case l.stalled == nil:
		l.conns = append(l.conns, c)
	}
	return l.stalled, nil
}

func (l *Listener) remove(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = slices.DeleteFunc(l.conns, func(other *Conn) bool { return other == c })
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialed:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. Connections stay open. No connection is added
// after it, so a later Cut cuts all of them.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isClosed {
		close(l.closed)
	}
	l.isClosed = true
	return nil
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return addr{} }

// Conns returns the connections that are not cut, nor closed at both ends, in
// the order they were dialed.
func (l *Listener) Conns() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.conns)
}

// Cut cuts all connections. New ones can be dialed.
func (l *Listener) Cut() {
	for _, c := range l.Conns() {
		c.Cut()
	}
}

// Stall stalls all connections, and makes Dial wait.
func (l *Listener) Stall() {
	l.mu.Lock()
	if l.stalled == nil {
		l.stalled = make(chan struct{})
	}
	l.mu.Unlock()
	for _, c := range l.Conns() {
		c.Stall()
	}
}

// Resume ends a stall, of all connections.
func (l *Listener) Resume() {
	l.mu.Lock()
	if l.stalled != nil {
		close(l.stalled)
		l.stalled = nil
	}
	l.mu.Unlock()
	for _, c := range l.Conns() {
		c.Resume()
	}
}

type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return "memory" }
