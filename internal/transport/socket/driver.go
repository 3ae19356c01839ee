// Package socket drives WebSockets, over which clients follow channels, publish to them and
// are present there: a [session.Channels] each, with two goroutines or, while it is idle,
// with none.
package socket

import (
	"context"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/metric"
	"github.com/maravilla-realtime/realtime/internal/past"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/publish"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/session/roster"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Node is what sockets use of their node.
type Node struct {
	driver.Node
	Limits    Limits
	Rights    *rights.Rights
	Past      *past.Reader
	Growing   *growing.Growing
	Members   *presence.Members
	Rosters   *roster.Rosters
	Publisher *publish.Publisher

	CloseGrace, DropGrace time.Duration   // for which users stay: see realtime.PresenceOptions
	Running               context.Context // ends when the node waits for nobody any longer
}

// Limits bound what one client sends: see realtime.Limits.
type Limits struct {
	Message, Metadata, Page, Channels int
	Rate, Burst                       int
	UserRate                          int
}

// pace is how often a connection may do an operation.
func (l *Limits) pace() conns.Rate { return conns.Rate{PerSecond: l.Rate, Burst: l.Burst} }

// flood is how often it may send a frame.
func (l *Limits) flood() conns.Rate {
	return conns.Rate{PerSecond: FloodFactor * l.Rate, Burst: FloodFactor * l.Burst}
}

// Driver drives the sockets of a node.
type Driver struct {
	node       Node
	tally      *driver.Tally
	operations *metric.Set
}

// New returns the driver of a node.
func New(node Node) *Driver {
	return &Driver{
		node: node, operations: metric.NewSet("other", wire.Ops()...),
		tally: driver.NewTally("websocket", node.Traced,
			"client", "slow", "dead", "violation", "closing", "rotate", "expired", "revoked", "refused", "hello_required",
			"unavailable", "internal"),
	}
}

// Stats returns what was counted of sockets.
func (d *Driver) Stats() driver.Stats { return d.tally.Stats() }

// Operations returns how often clients have sent each operation.
func (d *Driver) Operations() map[string]uint64 { return d.operations.Values() }

// Serve answers a request for a WebSocket that was admitted.
func (d *Driver) Serve(w http.ResponseWriter, r *http.Request) {
	if f := CheckUpgrade(w, r); f != nil {
		d.node.Refused.Add(f.From(r)).Write(w)
		return
	}
	if missing := httpwriter.Hijackable(w, r); missing != nil {
		d.node.RefuseWriter(w, missing)
		return
	}
	s := d.newSocket(w, r)
	if f := s.letIn(r); f != nil {
		d.node.Refused.Add(f.From(r)).Write(w)
		return
	}
	switch conn := s.upgrade(w, r); {
	case conn == nil:
		s.remove()
	case s.task != nil:
		s.begin(conn)
	default:
		defer s.remove()
		s.run()
	}
}

// letIn authenticates the client, unless it does so with its hello, and adds the connection
// to those of the node.
func (s *socket) letIn(r *http.Request) (f *refused.Refusal) {
	handshake := s.node.Conns.Begin()
	defer handshake.End()
	if s.conn.Unknown = s.late; !s.late {
		id, f := s.node.Identify(handshake, r)
		if f != nil {
			return f
		}
		s.id = &id
	}
	return s.node.Refusal(handshake.Add(&s.conn, s.id.User))
}

// takes reports whether a shard is to drive a WebSocket: see [driver.Hijack].
func (d *Driver) takes(w http.ResponseWriter, r *http.Request) bool {
	switch d.node.Hijack {
	case driver.HijackDefault:
		return d.node.IsPlain(r) && r.Body == http.NoBody && httpwriter.IsServers(w) && httpwriter.ConnContext(r.Context()) != nil
	case driver.HijackPlain:
		return d.node.IsPlain(r)
	case driver.HijackAlways:
		return true
	}
	return false
}
