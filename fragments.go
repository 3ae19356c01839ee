package realtime

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/transport/renstream"
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
// at most half a second for the FragmentFunc of another stream, which may wait for this one:
// that stream ends as well, and comes back. An error ends the stream, and the page
// comes back without a cursor, so that all of its data is rendered.
type FragmentFunc func(ctx context.Context, to *Fragment, ev RenEvent) error

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
		rt.refusals.Add(refused.With(http.StatusInternalServerError, "internal", "internal error")).Write(w)
		return
	}
	if f := rt.admit(r); f != nil {
		rt.refusals.Add(f).Write(w)
		return
	}
	rt.ren.Fragments(w, r, &sel, render.fragment)
}

// fragment renders an event, or, with nil, everything.
func (render FragmentFunc) fragment(ctx context.Context, ev *backend.Event) (f renstream.Fragment, err error) {
	var to Fragment
	var event RenEvent
	if ev != nil {
		event = RenEvent(*ev)
	}
	if err := render(ctx, &to, event); err != nil {
		return f, err
	}
	if !wire.ValidText(to.Event) || strings.HasPrefix(to.Event, "ren.") {
		return f, fmt.Errorf("%w: Fragment.Event is %s", ErrBadEvent, wire.Quote(to.Event))
	}
	return renstream.Fragment{Event: to.Event, Data: to.Bytes()}, nil
}
