package client

import (
	"net/http"
	"net/url"
	"sync"

	"github.com/maravilla-realtime/realtime"
)

// Transport is a [http.RoundTripper] for the requests that a program makes beside its
// stream. It sends the client id, so that events caused by a request have the client's
// [Ren.Tag] as source. It also notes the cursor at which a stream must begin to miss
// nothing. The server's side is [realtime.Realtime.Attribute]. It may be used
// concurrently.
type Transport struct {
	// Base makes the requests. Default: [http.DefaultTransport].
	Base http.RoundTripper
	// Origin is the server that may know the id, e.g. "https://app.example". Requests to
	// other servers, including redirected ones, are sent unchanged.
	Origin string
	// ClientID is the id of the [Ren] or [Realtime] that gets the events.
	ClientID string

	mu       sync.Mutex
	requests uint64
	first    uint64 // the request that cursor is from
	cursor   string
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if !t.meant(req.URL) {
		return base.RoundTrip(req)
	}
	t.mu.Lock()
	t.requests++
	request := t.requests
	t.mu.Unlock()
	req = req.Clone(req.Context())
	req.Header.Set(clientHeader, t.ClientID)
	resp, err := base.RoundTrip(req)
	if err == nil {
		t.note(request, resp.Header.Get(cursorHeader))
	}
	return resp, err
}

// meant reports whether an address is of the server the id is meant for.
func (t *Transport) meant(to *url.URL) bool {
	own, err := url.Parse(t.Origin)
	return err == nil && own.Host != "" && sameOrigin(own, to)
}

// note keeps the oldest cursor. Cursors are opaque, and a slow answer may hold an
// older one than a quick one before it: the order of asking counts.
func (t *Transport) note(request uint64, cursor string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cursor != "" && (t.cursor == "" || request < t.first) {
		t.first, t.cursor = request, cursor
	}
}

// TakeCursor returns the place in the server's log from before the oldest of the
// requests answered since the last call, or "" if there was none. A stream with it as
// [RenOptions].Since shows every change to the data that they returned. Call it when all
// answers have come.
func (t *Transport) TakeCursor() realtime.Cursor {
	t.mu.Lock()
	defer t.mu.Unlock()
	cursor := t.cursor
	t.cursor = ""
	return realtime.Cursor(cursor)
}
