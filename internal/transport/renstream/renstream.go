// Package renstream drives REN streams, and streams of HTML, over responses to HTTP
// requests: a [session.Stream] each, in the goroutine of the request or in none.
package renstream

import (
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
)

// Node is what streams use of their node.
type Node struct {
	driver.Node
	Life time.Duration // of a stream, give or take 20 %
}

// Driver drives the streams of a node.
type Driver struct {
	node  Node
	tally *driver.Tally
}

// New returns the driver of a node.
func New(node Node) *Driver {
	return &Driver{node: node, tally: driver.NewTally("ren", node.Traced,
		"client", "slow", "closing", "rotate", "expired", "revoked", "refused", "unavailable", "internal")}
}

// Stats returns what was counted of streams.
func (d *Driver) Stats() driver.Stats { return d.tally.Stats() }

// Serve answers a request for the REN stream that was admitted.
func (d *Driver) Serve(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "GET, OPTIONS")
		d.node.Refused.Add(refused.With(http.StatusMethodNotAllowed, "method", "only GET is served here")).Write(w)
		return
	}
	d.stream(w, r, func(h *conns.Handshake) (*stream, *refused.Refusal) {
		ask, f := parse(r)
		if f != nil {
			return nil, f
		}
		if d.takesOver(w, r) {
			return d.newParked(r, ask, h)
		}
		return d.newStream(r, ask, h)
	})
}

// takesOver reports whether a stream leaves net/http: see [driver.Hijack].
func (d *Driver) takesOver(w http.ResponseWriter, r *http.Request) bool {
	if r.Proto != "HTTP/1.1" || r.Body != http.NoBody {
		return false
	}
	switch d.node.Hijack {
	case driver.HijackDefault, driver.HijackPlain:
		return d.node.IsPlain(r) && httpwriter.IsServers(w)
	case driver.HijackAlways:
		return httpwriter.Hijackable(w, r) == nil
	}
	return false
}
