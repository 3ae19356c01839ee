package realtime

import (
	"iter"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
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

	owner conns.Owner
}

// Connections yields the connections that are open on this node, the oldest first. It is
// for pages and commands of operators: see package inspector. It does not block, and
// costs less than a microsecond for each connection.
func (rt *Realtime) Connections() iter.Seq[Connection] {
	return func(yield func(Connection) bool) {
		for open := range rt.conns.All() {
			owner := open.Owner
			if owner == nil { // a request of Diagnose
				continue
			}
			card := owner.Card()
			c := Connection{
				ID: open.ID, Kind: card.Kind, User: open.User, Address: card.Address, Since: open.Since,
				Source: card.Source(), Writing: open.Writing.Load(), owner: owner,
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
	return c.owner.Sees()
}

// Joined lists, in order, the channels in which the connection is present now.
func (c Connection) Joined() []string {
	if c.owner == nil {
		return nil
	}
	return c.owner.Joined()
}

// Refusal is something that a client was refused, on this node.
type Refusal struct {
	Time    time.Time // the last time
	Count   int       // how often it was, with all else the same
	Code    string    // that the client was told: see docs/protocol.md
	User    string    // "" for anonymous, or if it is not known
	Address string    // http.Request.RemoteAddr; "" if it is not known
	Action  Action    // zero if it was not about one; at most 512 bytes of its Name
	// Reason is the text of the policy's error, which the client is not told, or else
	// the message that it was told; at most 512 bytes.
	Reason string
}

// Refusals returns the newest refusals of this node, at most 200, the newest first. What
// is refused again and again counts as one.
func (rt *Realtime) Refusals() []Refusal {
	var list []Refusal
	for _, n := range rt.refusals.Newest() {
		list = append(list, Refusal{
			Time: n.Time, Count: n.Count, Code: n.Code, User: n.User, Address: n.Address,
			Action: Action{Verb: Verb(n.Verb), Name: n.Name, ID: n.ID}, Reason: n.Reason,
		})
	}
	return list
}
