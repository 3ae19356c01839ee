package renstream

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/refused"
)

// What a request may ask for, up to its bounds.
func TestParse(t *testing.T) {
	domains := func(n int) string { return "s=" + strings.TrimSuffix(strings.Repeat("kv,", n), ",") }
	for query, want := range map[string]struct {
		code    string // of the refusal
		domains int
		every   time.Duration
	}{
		"":                            {},
		"s=*":                         {},
		domains(32):                   {domains: 32},
		domains(33):                   {code: "too_many"},
		"every=":                      {},
		"every=1":                     {every: time.Millisecond},
		"every=10000":                 {every: 10 * time.Second},
		"every=10001":                 {code: "bad_request"},
		"every=0":                     {code: "bad_request"},
		"every=-1":                    {code: "bad_request"},
		"every=1s":                    {code: "bad_request"},
		"every=1e3":                   {code: "bad_request"},
		"every=1&every=":              {code: "bad_request"},
		"every=99999999999999999999":  {code: "bad_request"},
		"every=-99999999999999999999": {code: "bad_request"},
	} {
		ask, refused := parse(&http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{}})
		switch {
		case refused != nil:
			if refused.Code != want.code {
				t.Errorf("%q is refused with %s", query, refused.Code)
			}
		case want.code != "" || len(ask.domains) != want.domains || ask.every != want.every:
			t.Errorf("%q is understood as %+v", query, ask)
		}
	}
}

// Nothing is kept of a client that is refused.
func TestRefusedHandshakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, d := parkedOver(t, new(link))
		d.node.Refused = refused.NewLog()
		w := httptest.NewRecorder()
		d.Serve(w, httptest.NewRequest("GET", "/ren?s=!", http.NoBody))
		if n := d.node.Conns.Handshakes(); n != 0 || w.Code != http.StatusBadRequest {
			t.Errorf("%d handshakes are kept after status %d", n, w.Code)
		}
	})
}
