package realtime

import (
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/cors"
)

// CORS wraps handlers for pages of [Policy.Origins]. It answers the preflights of their
// browsers, for any method and header, and lets the pages read the answers, including
// ETag, Retry-After and X-Ren-Cursor (Fetch standard, section 3.2). For pages of other
// origins it sets no headers. CORS does not authorise: the handlers must decide whether
// a request is allowed. But it refuses requests for a host that is not among
// [Policy.Hosts] (421).
//
// The library's own handlers, and that of package storage, need no CORS around them,
// but may have it. A middleware of the host that sets such headers may be outside or
// inside of CORS: lists, such as the exposed headers, are joined. CORS must be outside
// of [http.CrossOriginProtection], so that pages can read its refusals; give that the
// same origins.
func (rt *Realtime) CORS(next http.Handler) http.Handler {
	return rt.cors(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(rt.policy.Origins) == 0 || r.Header.Get("Upgrade") != "" { // WebSockets know no CORS
			next.ServeHTTP(w, r)
			return
		}
		mending := cors.NewWriter(w, func() { rt.policy.allowCrossOrigin(w.Header(), r) })
		next.ServeHTTP(mending, r)
		mending.Send()
	}))
}

// cors is CORS for handlers that leave these headers alone.
func (rt *Realtime) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := rt.checkHost(r); f != nil {
			rt.refuse(f).write(w)
			return
		}
		h := w.Header()
		listed := rt.policy.allowCrossOrigin(h, r)
		if !listed || !cors.IsPreflight(r) {
			next.ServeHTTP(w, r)
			return
		}
		cors.AllowPreflight(h, r)
		w.WriteHeader(http.StatusNoContent)
	})
}

// allowCrossOrigin lets a page of a listed origin read the answer, and reports whether r
// is from such a page.
func (p *Policy) allowCrossOrigin(h http.Header, r *http.Request) bool {
	cors.VaryByOrigin(h)
	origin := r.Header.Get("Origin")
	if !p.origins.Match(origin) {
		return false
	}
	cors.Allow(h, origin, "ETag, Retry-After, "+cursorHeader)
	return true
}
