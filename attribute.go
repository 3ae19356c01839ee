package realtime

import (
	"context"
	"fmt"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

const (
	clientHeader = "X-Ren-Client" // client id of the sender of a request
	cursorHeader = "X-Ren-Cursor" // cursor from before the request was handled
)

type clientKey struct{}

// clientID returns the client id a request came with, or "".
func clientID(ctx context.Context) string {
	id, _ := ctx.Value(clientKey{}).(string)
	return id
}

// Attribute wraps a host's handlers so that what they publish, emit and join
// with the request's context is attributed to the browser tab that sent the
// request, by its X-Ren-Client header, which the SDK's renFetch sends. The tab
// then recognises the events as its own. It only labels: whether a request may
// do what it does is for the host to decide, with one exception. Requests for a
// host that is not among [Policy.Hosts] are refused (421).
//
// It also answers with X-Ren-Cursor, the place in the log from before the
// request was handled. A page that fetches data and then opens a stream hands it
// over, so that no change in between escapes it; the SDK does so by itself.
func (rt *Realtime) Attribute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := rt.checkHost(r); f != nil {
			f.write(w)
			return
		}
		w.Header().Set(cursorHeader, string(rt.Cursor()))
		if id := r.Header.Get(clientHeader); wire.ValidClientID(id) {
			r = r.WithContext(context.WithValue(r.Context(), clientKey{}, id))
		}
		next.ServeHTTP(w, r)
	})
}

// EventOption says more about an event than its content. Methods refuse, as
// [ErrBadOption], what means nothing to them.
type EventOption func(*attribution)

type attribution struct {
	user, client, id string
	given            []string // the options that not all methods know
	depth            int      // how many handlers in a row led to the event
}

// AsUser says which user publishes; subscribers get it as userId. It is for Publish
// and Emit.
func AsUser(userID string) EventOption {
	return func(a *attribution) { a.user, a.given = userID, append(a.given, "AsUser") }
}

// FromClient says which client caused the event, so that it recognises the
// event as its own. Requests that came through [Realtime.Attribute] carry it in
// their context.
func FromClient(clientID string) EventOption { return func(a *attribution) { a.client = clientID } }

// WithID makes an event idempotent: of those with the same id within two
// minutes, whatever they are about, the first is delivered. At most 128 bytes. It is
// for Publish and Emit.
func WithID(id string) EventOption {
	return func(a *attribution) { a.id, a.given = id, append(a.given, "WithID") }
}

func attribute(ctx context.Context, opts []EventOption) (attribution, error) {
	a := attribution{client: clientID(ctx), depth: depth(ctx)}
	for _, opt := range opts {
		if opt == nil {
			return a, fmt.Errorf("%w: an EventOption is nil", ErrBadOption)
		}
		opt(&a)
	}
	switch {
	case a.client != "" && !wire.ValidClientID(a.client):
		return a, ErrBadClientID
	case a.user != "" && badName(a.user):
		return a, ErrBadUser
	case len(a.id) > 128:
		return a, fmt.Errorf("%w: id longer than 128 bytes", ErrBadEvent)
	case a.depth > maxDepth:
		return a, ErrLoop
	}
	return a, nil
}
