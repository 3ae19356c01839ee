package realtime

import (
	"net/http"
	"slices"
	"strings"
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
		mending := &corsWriter{ResponseWriter: w, mend: func() { rt.policy.allowCrossOrigin(w.Header(), r) }}
		next.ServeHTTP(mending, r)
		mending.send()
	}))
}

// cors is CORS for handlers that leave these headers alone.
func (rt *Realtime) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := rt.checkHost(r); f != nil {
			f.write(w)
			return
		}
		h := w.Header()
		listed := rt.policy.allowCrossOrigin(h, r)
		method := r.Header.Get("Access-Control-Request-Method")
		if !listed || r.Method != http.MethodOptions || method == "" {
			next.ServeHTTP(w, r)
			return
		}
		vary(h, "Access-Control-Request-Method", "Access-Control-Request-Headers")
		include(h, "Access-Control-Allow-Methods", method)
		if headers := r.Header.Values("Access-Control-Request-Headers"); len(headers) > 0 {
			include(h, "Access-Control-Allow-Headers", strings.Join(headers, ","))
		}
		if h.Get("Access-Control-Max-Age") == "" {
			h.Set("Access-Control-Max-Age", preflightAge)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// preflightAge is how long a browser may keep an answer, in seconds: as long as
// Chromium does at most.
const preflightAge = "7200"

// allowCrossOrigin lets a page of a listed origin read the answer, and reports whether r
// is from such a page.
func (p *Policy) allowCrossOrigin(h http.Header, r *http.Request) bool {
	vary(h, "Origin")
	origin := r.Header.Get("Origin")
	if !p.listed(origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	include(h, "Access-Control-Expose-Headers", "ETag, Retry-After, "+cursorHeader)
	return true
}

// include adds the names of a list to a header that is a list of names, after those that
// it has already, and each name once.
func include(h http.Header, name, list string) {
	have := h.Values(name)
	if names := missing(have, list); len(have) == 0 {
		h.Set(name, list)
	} else if len(names) > 0 {
		h.Set(name, strings.Join(slices.Concat(have, names), ", "))
	}
}

// vary is include for Vary, of which each name has a line of its own.
func vary(h http.Header, names ...string) {
	for _, name := range names {
		if len(missing(h.Values("Vary"), name)) > 0 {
			h.Add("Vary", name)
		}
	}
}

// missing lists the names of a list that are not in any of others. Case does not
// count: these are names of headers (RFC 9110, section 5.1).
func missing(others []string, list string) (names []string) {
	have := make(map[string]bool)
	for _, line := range others {
		for name := range strings.SplitSeq(line, ",") {
			have[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if same := strings.ToLower(name); name != "" && !have[same] {
			have[same] = true
			names = append(names, name)
		}
	}
	return names
}
