package renstream

import (
	"context"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// renderTime is the time that a [Render] has.
const renderTime = 5 * time.Second

// Fragment is one Server-Sent Event. Nothing is sent of one without data.
type Fragment struct {
	Event string // its name; "" for "message"
	Data  []byte // lines
}

// Render renders an event, or, with nil, everything. It is the host's, and may take its
// time, or panic.
type Render func(ctx context.Context, ev *backend.Event) (Fragment, error)

// Fragments answers a request that was admitted with a stream of what render makes of the
// events that match.
func (d *Driver) Fragments(w http.ResponseWriter, r *http.Request, sel *match.Selector, render Render) {
	d.stream(w, r, func(h *conns.Handshake) (*stream, *refused.Refusal) {
		ask := request{cursor: r.Header.Get("Last-Event-ID"), client: r.Header.Get(wire.ClientHeader)}
		if ask.client != "" && !wire.ValidClientID(ask.client) {
			return nil, &refused.Refusal{Status: http.StatusBadRequest, Error: wire.BadClientID(ask.client)}
		}
		if name, ok := match.Literal(sel.Resource); ok {
			ask.domains = []string{name}
		}
		s, f := d.newStream(r, ask, h)
		if f == nil {
			s.session.Render = s.renderer(sel, render)
		}
		return s, f
	})
}

// renderer returns what the session calls to render an event, or everything.
func (s *stream) renderer(sel *match.Selector, render Render) func(dst []byte, pos backend.Position, ev *backend.Event) ([]byte, bool) {
	return func(dst []byte, pos backend.Position, ev *backend.Event) (_ []byte, done bool) {
		if ev != nil && !sel.Matches(ev) {
			return dst, true
		}
		if s.ctx.Err() != nil {
			return dst, false
		}
		to, err := s.render(ev, render)
		if err != nil {
			s.notRendered(ev, err)
		}
		switch {
		case s.ctx.Err() != nil: // by notRendered or, as it has revoked the right to see this, by render
			return dst, false
		case len(to.Data) == 0:
			return dst, true
		}
		return sse.AppendEvent(dst, to.Event, wire.Cursor(pos), to.Data), true
	}
}

// render calls the function of the host.
func (s *stream) render(ev *backend.Event, render Render) (to Fragment, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, renderTime)
	defer cancel()
	s.conn.Rendering.Store(true)
	defer s.conn.Rendering.Store(false)
	call := &rights.Call{Conn: &s.conn, Fragment: true}
	ctx, end := call.Begin(ctx)
	defer end()
	err = conns.Guard(s.node.Logger, func() (err error) {
		to, err = render(ctx, ev)
		return err
	})
	return to, err
}

// notRendered ends the stream, since an event, or everything, was not rendered.
func (s *stream) notRendered(ev *backend.Event, err error) {
	if s.ctx.Err() == nil {
		typ := ""
		if ev != nil {
			typ = ev.Type
		}
		s.node.Logger.Error("realtime: a fragment was not rendered; the stream ends", "type", typ, "error", err)
		s.session.ForgetCursor() // it may never be rendered
	}
	s.conn.Cancel(&conns.Ending{Reason: "internal", Retry: conns.RetryAfter()})
}
