package realtime

import (
	"iter"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Connection is an open connection of a client to this node, as it was when
// [Realtime.Connections] yielded it.
type Connection struct {
	ID      uint64    // of this node: from 1 on, never used again
	Kind    string    // "ren" or "websocket"
	User    string    // "" for anonymous, or not known yet
	Source  string    // the client's tag, as in events; "" if it has none, or is not known yet
	Address string    // http.Request.RemoteAddr: with a proxy in front, as a middleware has set it
	Since   time.Time // when it was let in

	// Unread is how many events of the topics that it follows wait for the client, and
	// Lag how long the oldest of them has been here. Both are usually zero. Writing: it
	// waits for the client, or its network, to take what is sent.
	Unread  int
	Lag     time.Duration
	Writing bool

	owner viewer
}

// viewer is a connection of which somebody looks at what it may see.
type viewer interface {
	card() *card
	sees() []string
	joined() []string
	Unread() (int, time.Time)
}

// card is what does not change of a connection, and the client's tag, which may come
// later.
type card struct {
	kind, address string
	source        atomic.Pointer[string]
}

func (c *card) fill(kind string, r *http.Request) { c.kind, c.address = kind, r.RemoteAddr }

func (c *card) identify(client string) {
	tag := wire.Tag(client)
	c.source.Store(&tag)
}

// Connections yields the connections that are open on this node, the oldest first. It is
// for pages and commands of operators: see package inspector. It does not block, and
// costs less than a microsecond for each connection.
func (rt *Realtime) Connections() iter.Seq[Connection] {
	return func(yield func(Connection) bool) {
		for open := range rt.conns.All() {
			owner, ok := open.Owner.(viewer)
			if !ok { // a request of Diagnose
				continue
			}
			card := owner.card()
			c := Connection{
				ID: open.ID, Kind: card.kind, User: open.User, Address: card.address, Since: open.Since,
				Writing: open.Writing.Load(), owner: owner,
			}
			if tag := card.source.Load(); tag != nil {
				c.Source = *tag
			}
			var oldest time.Time
			if c.Unread, oldest = owner.Unread(); c.Unread > 0 {
				c.Lag = max(time.Since(oldest), 0)
			}
			if !yield(c) {
				return
			}
		}
	}
}

// Sees lists what the connection may see now: of a WebSocket the channels it has
// subscribed to, in order; of a REN stream the grants that it carries, as
// [Grant.String] has them. What the policy's See hides of that is not in it. The zero
// Connection sees nothing.
func (c Connection) Sees() []string {
	if c.owner == nil {
		return nil
	}
	return c.owner.sees()
}

// Joined lists, in order, the channels in which the connection is present now.
func (c Connection) Joined() []string {
	if c.owner == nil {
		return nil
	}
	return c.owner.joined()
}
