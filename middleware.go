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

// missAttribute logs, once, that a request names a browser tab and has not come through
// Attribute: nothing else tells the host that tabs do not recognise their own events.
func (rt *Realtime) missAttribute(r *http.Request) {
	if wire.ValidClientID(r.Header.Get(clientHeader)) && clientID(r.Context()) == "" && rt.unattributed.CompareAndSwap(false, true) {
		rt.log.Warn("realtime: a request names a browser tab, but its handler is not within Attribute; tabs do not recognise their own events")
	}
}

// Attribute wraps a host's handlers. Events that they publish, emit or cause with the
// request's context are attributed to the browser tab that sent the request, by its
// X-Ren-Client header, which the SDK's renFetch sends. The tab then recognises the
// events as its own. Attribute does not authorise: the host must decide whether a
// request is allowed. But it refuses requests for a host that is not among
// [Policy.Hosts] (421).
//
// It also answers with X-Ren-Cursor, the place in the log from before the request was
// handled. A page that fetches data and then opens a stream from this cursor misses no
// change in between; the SDK does this by itself.
func (rt *Realtime) Attribute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := rt.checkHost(r); f != nil {
			rt.refuse(f).write(w)
			return
		}
		w.Header().Set(cursorHeader, string(rt.Cursor()))
		if id := r.Header.Get(clientHeader); wire.ValidClientID(id) {
			r = r.WithContext(context.WithValue(r.Context(), clientKey{}, id))
		}
		next.ServeHTTP(w, r)
	})
}
