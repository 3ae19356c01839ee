package realtimetest

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/maravilla-realtime/realtime/internal/test/memnet"
)

// Network is the network between a server and its clients. It has no buffers: a peer
// that does not read stalls the other one at once, like a real network whose buffers
// are full.
type Network struct {
	// Another one for each process that serves here, one after another.
	listener atomic.Pointer[memnet.Listener]
}

// listen begins a new process.
func (n *Network) listen() { n.listener.Store(memnet.Listen()) }

// close ends the process: its connections break, and nobody can connect.
func (n *Network) close() {
	_ = n.listener.Load().Close()
	n.Cut() // also where a test leaves the network stalled
}

// Dial connects to the server, whatever the network and address. It is for
// clients that take a dial function instead of [Server.HTTPClient].
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.listener.Load().Dial(ctx, network, addr)
}

// Cut breaks all connections like a TCP reset: both ends get ECONNRESET. Clients can
// connect again.
func (n *Network) Cut() { n.listener.Load().Cut() }

// Stall makes the network silent: reads, writes and dials wait, and nobody hears
// that a peer has gone. Deadlines work. Nothing is lost when it resumes.
func (n *Network) Stall() { n.listener.Load().Stall() }

// Resume ends a stall, of the network and of every connection.
func (n *Network) Resume() { n.listener.Load().Resume() }

// Conns returns the open connections in the order in which they were dialed.
func (n *Network) Conns() []*Conn {
	var conns []*Conn
	for _, c := range n.listener.Load().Conns() {
		conns = append(conns, &Conn{c})
	}
	return conns
}

// Conn is one connection, both its ends.
type Conn struct{ conn *memnet.Conn }

// Cut is [Network.Cut] for this connection.
func (c *Conn) Cut() { c.conn.Cut() }

// Stall is [Network.Stall] for this connection.
func (c *Conn) Stall() { c.conn.Stall() }

// Resume ends a stall of this connection.
func (c *Conn) Resume() { c.conn.Resume() }
