package client

import (
	"net/http"
	"net/url"
	"sync"

	"github.com/maravilla-realtime/realtime"
)

// Transport is a [http.RoundTripper] for the requests a program makes beside its
// stream. It says who asks, so that the events that a request causes come back
// with the client's [Ren.Tag] as source, and notes from where on a stream misses
// nothing of what was read. The server's side is [realtime.Realtime.Attribute].
type Transport struct {
	// Base does the requests. Default: [http.DefaultTransport].
	Base http.RoundTripper
	// Origin is the server the id is meant for, e.g. "https://app.example".
	// Requests to others, redirected ones too, pass as they are.
	Origin string
	// ClientID is that of the [Ren] or [Realtime] the events come to.
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
// requests answered since the call before, or "". With it as [RenOptions].Since a
// stream tells of every change to what they returned. It is called when all that
// was asked for has come.
func (t *Transport) TakeCursor() realtime.Cursor {
	t.mu.Lock()
	defer t.mu.Unlock()
	cursor := t.cursor
	t.cursor = ""
	return realtime.Cursor(cursor)
}
