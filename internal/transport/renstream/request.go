package renstream

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// request is what a client asks for.
type request struct {
	domains []string // nil: all
	every   time.Duration
	cursor  string
	client  string
}

// maxDomains bounds the domains of one stream.
const maxDomains = 32

// maxEvery is the longest interval of a stream that carries the newest events, in
// milliseconds: pings would come late otherwise.
const maxEvery = 10_000

// parse reads what a request asks for.
func parse(r *http.Request) (ask request, f *refused.Refusal) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return ask, refused.With(http.StatusBadRequest, "bad_request", "malformed query")
	}
	for _, name := range []string{"s", "lastEventId", "cid", "every"} {
		if len(query[name]) > 1 {
			return ask, refused.With(http.StatusBadRequest, "bad_request", "parameter %q stands twice", name)
		}
	}
	if list := query.Get("s"); list != "" && list != "*" {
		ask.domains = strings.Split(list, ",")
	}
	if len(ask.domains) > maxDomains {
		return ask, refused.With(http.StatusBadRequest, "too_many", "more than %d domains", maxDomains)
	}
	for _, name := range ask.domains {
		if !wire.ValidDomain(name) {
			return ask, refused.With(http.StatusBadRequest, "bad_request", "%s is no resource domain", wire.Quote(name))
		}
	}
	if every := query.Get("every"); every != "" {
		ms, _ := strconv.Atoi(every) // what is no number is 0 here, and what is none of an int too large
		if ms < 1 || ms > maxEvery {
			return ask, refused.With(http.StatusBadRequest, "bad_request", "every must be 1 to %d milliseconds", maxEvery)
		}
		ask.every = time.Duration(ms) * time.Millisecond
	}
	ask.cursor, ask.client = query.Get("lastEventId"), query.Get("cid")
	if v := r.Header.Get("Last-Event-ID"); v != "" {
		ask.cursor = v
	}
	if v := r.Header.Get(wire.ClientHeader); v != "" {
		ask.client = v
	}
	if ask.client != "" && !wire.ValidClientID(ask.client) {
		return ask, &refused.Refusal{Status: http.StatusBadRequest, Error: wire.BadClientID(ask.client)}
	}
	return ask, nil
}
