// Package cors has the headers of cross-origin resource sharing (Fetch standard, section
// 3.2), so that other handlers and middlewares may set them as well.
package cors

import (
	"net/http"
	"slices"
	"strings"
)

// maxAge is how long a browser may keep the answer to a preflight, in seconds: as long as
// Chromium does at most.
const maxAge = "7200"

// IsPreflight reports whether r asks for permission to send another request.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// AllowPreflight permits what a preflight asks for.
func AllowPreflight(h http.Header, r *http.Request) {
	vary(h, "Access-Control-Request-Method", "Access-Control-Request-Headers")
	include(h, "Access-Control-Allow-Methods", r.Header.Get("Access-Control-Request-Method"))
	if headers := r.Header.Values("Access-Control-Request-Headers"); len(headers) > 0 {
		include(h, "Access-Control-Allow-Headers", strings.Join(headers, ","))
	}
	if h.Get("Access-Control-Max-Age") == "" {
		h.Set("Access-Control-Max-Age", maxAge)
	}
}

// Allow lets a page of an origin read the answer, the headers of a list included.
func Allow(h http.Header, origin, expose string) {
	respell(h)
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	include(h, "Access-Control-Expose-Headers", expose)
}

// respell finds the headers that others have set by a name in another case than
// [http.Header] has. A page cannot read an answer with two allowed origins.
func respell(h http.Header) {
	for name, values := range h {
		canonical := http.CanonicalHeaderKey(name)
		if canonical != name && strings.HasPrefix(canonical, "Access-Control-") {
			delete(h, name)
			h[canonical] = append(h[canonical], values...)
		}
	}
}

// VaryByOrigin says that the answer depends on the origin of the request.
func VaryByOrigin(h http.Header) { vary(h, "Origin") }

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
