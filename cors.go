package realtime

import (
	"net/http"
	"slices"
	"strings"
)

// CORS wraps handlers that pages of [Policy.Origins] ask as well: it answers what
// their browsers ask before a request (preflights), of any method and header, and
// lets the pages read the answers, with ETag, Retry-After and X-Ren-Cursor (Fetch
// standard, section 3.2). For pages of all other origins it says nothing. What a
// request may do is for the handlers to decide, but for that of a host that is not
// among [Policy.Hosts].
//
// The library's own handlers, and that of package storage, need no CORS around
// them, and do not mind it. Nor does it mind a middleware of the host's that does
// the like, on either side of it: lists, such as that of the exposed headers, hold
// what both say. It belongs outside of [http.CrossOriginProtection], whose refusals
// can then be read, and which has to be told of the same origins.
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

// allowCrossOrigin lets a page of a listed origin read the answer, and says
// whether r is of one.
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

// include sees to it that a header, which is a list of names, has those of another
// list, each of them once, after what it has already.
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
