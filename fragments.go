package realtime

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/sse"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Fragment is one Server-Sent Event while it is rendered. What is written to it is its
// data, and may have several lines. Nothing is sent if nothing was written.
type Fragment struct {
	bytes.Buffer
	// Event is the name of the event: "" for "message". It must not begin with "ren.",
	// nor have line breaks.
	Event string
}

// FragmentFunc renders HTML. It is called with the zero RenEvent when a stream begins,
// unless it resumes, and after a reset: then it renders the current data as a whole.
// Otherwise it renders what an event changes. It runs in the goroutine of the request;
// ctx ends after 5 s, or with the stream. While it runs, nothing is sent, and Revoke and
// Recheck wait. If it calls one of them itself, with ctx, that call does not wait for its
// own stream, which ends when it returns, and after Recheck comes back. Such a Recheck waits
// at most half a second for the FragmentFunc of another stream of this node, which may wait for
// this one: that stream ends as well, and comes back. An error ends the stream, and the page
// comes back without a cursor, so that all of its data is rendered.
type FragmentFunc func(ctx context.Context, to *Fragment, ev RenEvent) error

// renderTime is the time that a FragmentFunc has.
const renderTime = 5 * time.Second

// Fragments serves a stream of HTML as Server-Sent Events, for htmx, datastar and the
// like: render is called for the page's data as it is, and then for each event that
// matches. No event is missing between them.
//
// It is a REN stream with other data: the same [Policy] (Authenticate, Grants and See)
// decides who gets it and which events are rendered; without the right to data, render
// gets the event without it. Revoke, Recheck, Close, an expiry, heartbeats, write
// deadlines and [Options].StreamLife end it or keep it as they do a REN stream. The
// events that begin with "ren." are those of a REN stream, which such pages ignore.
// Each fragment has the cursor of its event as its id, so an EventSource that comes back
// gets what it has missed.
//
// The query is the host's: the parameters of a REN stream, such as every, mean nothing here.
//
// It blocks until the stream ends, and must be called once for a request, before
// anything is written. It answers requests that are refused.
func (rt *Realtime) Fragments(w http.ResponseWriter, r *http.Request, m EventMatch, render FragmentFunc) {
	sel, err := m.compile()
	if err != nil || render == nil {
		rt.log.ErrorContext(r.Context(), "realtime: Fragments cannot serve", "error", err)
		rt.refuse(refuse(http.StatusInternalServerError, "internal", "internal error")).write(w)
		return
	}
	if f := rt.admit(r); f != nil {
		rt.refuse(f).write(w)
		return
	}
	rt.stream(w, r, func(h *conns.Handshake) (*stream, *refusal) {
		ask := renRequest{cursor: r.Header.Get("Last-Event-ID"), client: r.Header.Get(clientHeader)}
		if ask.client != "" && !wire.ValidClientID(ask.client) {
			return nil, &refusal{status: http.StatusBadRequest, Error: wire.BadClientID(ask.client)}
		}
		if name, ok := match.Literal(sel.Resource); ok {
			ask.domains = []string{name}
		}
		s, f := rt.newStream(r, ask, h)
		if f == nil {
			s.session.Render = s.renderer(&sel, render)
		}
		return s, f
	})
}

// renderer returns what the session calls to render an event, or everything.
func (s *stream) renderer(sel *match.Selector, render FragmentFunc) func(dst []byte, pos backend.Position, ev *backend.Event) ([]byte, bool) {
	return func(dst []byte, pos backend.Position, ev *backend.Event) (_ []byte, done bool) {
		var to Fragment
		var event RenEvent
		if ev != nil {
			if !sel.Matches(ev) {
				return dst, true
			}
			event = RenEvent(*ev)
		}
		if s.ctx.Err() != nil {
			return dst, false
		}
		ctx, cancel := context.WithTimeout(s.ctx, renderTime)
		defer cancel()
		s.conn.Rendering.Store(true)
		defer s.conn.Rendering.Store(false)
		call := &rights.Call{Conn: &s.conn, Fragment: true}
		ctx, end := call.Begin(ctx)
		defer end()
		err := conns.Guard(s.rt.log, func() error { return render(ctx, &to, event) })
		if err == nil && (!wire.ValidText(to.Event) || strings.HasPrefix(to.Event, "ren.")) {
			err = fmt.Errorf("%w: Fragment.Event is %s", ErrBadEvent, wire.Quote(to.Event))
		}
		if err != nil {
			if s.ctx.Err() == nil {
				s.rt.log.Error("realtime: a fragment was not rendered; the stream ends", "type", event.Type, "error", err)
				s.session.ForgetCursor() // it may never be rendered
			}
			s.conn.Cancel(&conns.Ending{Reason: "internal", Retry: conns.RetryAfter()})
			return dst, false
		}
		switch {
		case s.ctx.Err() != nil: // by render, perhaps, which has revoked the right to see it
			return dst, false
		case to.Len() == 0:
			return dst, true
		}
		return sse.AppendEvent(dst, to.Event, wire.Cursor(pos), to.Bytes()), true
	}
}
