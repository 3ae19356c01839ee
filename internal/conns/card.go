package conns

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Owner is what a connection belongs to, for those who look at open connections. Its
// methods may be called concurrently.
type Owner interface {
	Card() *Card
	Sees() []string   // what it may see now, in order
	Joined() []string // the channels in which it is present now, in order
	// Unread returns how many events wait for the client, and when the oldest of them
	// came.
	Unread() (n int, oldest time.Time)
}

// Card is what does not change of a connection, and the client's tag, which may come
// later.
type Card struct {
	Kind, Address string
	source        atomic.Pointer[string]
}

// Fill notes of which kind the connection is, and where its request came from. It must be
// called first.
func (c *Card) Fill(kind string, r *http.Request) { c.Kind, c.Address = kind, r.RemoteAddr }

// Identify notes the id that the client gives itself.
func (c *Card) Identify(client string) {
	tag := wire.Tag(client)
	c.source.Store(&tag)
}

// Source returns the client's tag; "" if it has none, or is not known yet.
func (c *Card) Source() string {
	if tag := c.source.Load(); tag != nil {
		return *tag
	}
	return ""
}
