// Package unused closes the connections of an HTTP server on which no request has
// come yet. Browsers open some in advance. [http.Server.Shutdown] would answer no
// request on them, but waits 5 s for each (golang.org/issue/22682).
package unused

import (
	"net"
	"net/http"
	"sync"
)

// Conns are the unused connections of a server.
type Conns struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// Watch follows the connections of srv, which must not serve yet. It adds to
// srv.ConnState.
func Watch(srv *http.Server) *Conns {
	c := &Conns{conns: make(map[net.Conn]struct{})}
	hosts := srv.ConnState
	srv.ConnState = func(conn net.Conn, state http.ConnState) {
		c.note(conn, state)
		if hosts != nil {
			hosts(conn, state)
		}
	}
	return c
}

func (c *Conns) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(c.conns, conn)
	case c.closed:
		_ = conn.Close() // nobody has used it
	default:
		c.conns[conn] = struct{}{}
	}
}

// Close closes the connections that are unused now, and those that come later.
func (c *Conns) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.conns {
		_ = conn.Close() // nobody has used it
	}
}
