package realtime

import (
	"context"
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
