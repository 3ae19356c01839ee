package realtime

import (
	"net/http"
	"slices"
)

// CORS wraps handlers that pages of [Policy.Origins] ask as well: it answers what
// their browsers ask before a request (preflights), of any method and header, and
// lets the pages read the answers, with ETag, Retry-After and X-Ren-Cursor (Fetch
// standard, section 3.2). For pages of all other origins it says nothing. What a
// request may do is for the handlers to decide.
//
// The library's own handlers, and that of package storage, need no CORS around
// them, and do not mind it. It belongs outside of [http.CrossOriginProtection],
// whose refusals can then be read, and which has to be told of the same origins.
func (rt *Realtime) CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		listed := rt.policy.allowCrossOrigin(w, r)
		method := r.Header.Get("Access-Control-Request-Method")
		if !listed || r.Method != http.MethodOptions || method == "" {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Add("Vary", "Access-Control-Request-Method")
		h.Add("Vary", "Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Methods", method)
		if headers := r.Header.Get("Access-Control-Request-Headers"); headers != "" {
			h.Set("Access-Control-Allow-Headers", headers)
		}
		h.Set("Access-Control-Max-Age", preflightAge)
		w.WriteHeader(http.StatusNoContent)
	})
}

// preflightAge is how long a browser may keep an answer, in seconds: as long as
// Chromium does at most.
const preflightAge = "7200"

// allowCrossOrigin lets a page of a listed origin read the answer, and says
// whether r is of one.
func (p *Policy) allowCrossOrigin(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	if !slices.Contains(h.Values("Vary"), "Origin") {
		h.Add("Vary", "Origin")
	}
	origin := r.Header.Get("Origin")
	if !p.listed(origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "ETag, Retry-After, "+cursorHeader)
	return true
}
