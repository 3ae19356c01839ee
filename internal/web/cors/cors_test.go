package cors_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/internal/web/cors"
)

// A preflight asks for a method; other requests with OPTIONS are the host's.
func TestIsPreflight(t *testing.T) {
	for _, c := range []struct {
		method, asks string
		want         bool
	}{
		{"OPTIONS", "PUT", true}, {"OPTIONS", "", false}, {"GET", "PUT", false}, {"GET", "", false},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		if c.asks != "" {
			r.Header.Set("Access-Control-Request-Method", c.asks)
		}
		if got := cors.IsPreflight(r); got != c.want {
			t.Errorf("%s that asks for %q: %v", c.method, c.asks, got)
		}
	}
}

// What a middleware of the host's has set stays, and each name stands once.
func TestAllow(t *testing.T) {
	for _, c := range []struct {
		name      string
		had, want []string
		expose    string
	}{
		{"nothing before", nil, []string{"ETag, Retry-After"}, "ETag, Retry-After"},
		{"others before", []string{"X-Total"}, []string{"X-Total, ETag, Retry-After"}, "ETag, Retry-After"},
		{"some of them before", []string{"X-Total, etag"}, []string{"X-Total, etag, Retry-After"}, "ETag, Retry-After"},
		{"on two lines", []string{"X-Total", "RETRY-AFTER"}, []string{"X-Total, RETRY-AFTER, ETag"}, "ETag, Retry-After"},
		{"all of them before", []string{" Retry-After ,ETag"}, []string{" Retry-After ,ETag"}, "ETag, Retry-After"},
		{"all of them before, on two lines", []string{"Retry-After", "ETag"}, []string{"Retry-After", "ETag"}, "ETag, Retry-After"},
		{"twice in the list", []string{"X-Total"}, []string{"X-Total, ETag"}, "ETag,, etag,ETag "},
	} {
		h := http.Header{"Access-Control-Allow-Origin": {"https://else.example"}}
		for _, line := range c.had {
			h.Add("Access-Control-Expose-Headers", line)
		}
		cors.Allow(h, "https://app.example.com", c.expose)
		want := http.Header{
			"Access-Control-Allow-Origin":      {"https://app.example.com"}, // the one of ours, as two would be none
			"Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Expose-Headers":    c.want,
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestAllowPreflight(t *testing.T) {
	for _, c := range []struct {
		name      string
		asks      []string // for headers
		had, want http.Header
	}{
		{"a method", nil, http.Header{}, http.Header{
			"Access-Control-Allow-Methods": {"PATCH"},
			"Access-Control-Max-Age":       {"7200"},
			"Vary":                         {"Access-Control-Request-Method", "Access-Control-Request-Headers"},
		}},
		{"headers, on two lines", []string{"a, b", "c"}, http.Header{}, http.Header{
			"Access-Control-Allow-Methods": {"PATCH"},
			"Access-Control-Allow-Headers": {"a, b,c"},
			"Access-Control-Max-Age":       {"7200"},
			"Vary":                         {"Access-Control-Request-Method", "Access-Control-Request-Headers"},
		}},
		{"beside a middleware", []string{"b,c"}, http.Header{
			"Access-Control-Allow-Methods": {"GET, PATCH"},
			"Access-Control-Allow-Headers": {"A, B"},
			"Access-Control-Max-Age":       {"5"},
			"Vary":                         {"Origin, access-control-request-method"},
		}, http.Header{
			"Access-Control-Allow-Methods": {"GET, PATCH"},
			"Access-Control-Allow-Headers": {"A, B, c"},
			"Access-Control-Max-Age":       {"5"},
			"Vary":                         {"Origin, access-control-request-method", "Access-Control-Request-Headers"},
		}},
	} {
		r := httptest.NewRequest("OPTIONS", "/", nil)
		r.Header.Set("Access-Control-Request-Method", "PATCH")
		r.Header["Access-Control-Request-Headers"] = c.asks
		cors.AllowPreflight(c.had, r)
		if diff := cmp.Diff(c.want, c.had); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestVaryByOrigin(t *testing.T) {
	h := http.Header{}
	cors.VaryByOrigin(h)
	cors.VaryByOrigin(h)
	if diff := cmp.Diff(http.Header{"Vary": {"Origin"}}, h); diff != "" {
		t.Error(diff)
	}
}

// hijacker is a connection that can be taken over.
type hijacker struct{ *httptest.ResponseRecorder }

var errTaken = errors.New("taken")

func (hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errTaken }

// The headers are mended once, right before they are sent, in whatever way they are.
func TestWriterMends(t *testing.T) {
	for name, send := range map[string]func(w *cors.Writer){
		"ok":         func(w *cors.Writer) { w.WriteHeader(http.StatusOK) },
		"status":     func(w *cors.Writer) { w.WriteHeader(http.StatusTeapot) },
		"upgrade":    func(w *cors.Writer) { w.WriteHeader(http.StatusSwitchingProtocols) },
		"body":       func(w *cors.Writer) { _, _ = w.Write([]byte("body")) },
		"file":       func(w *cors.Writer) { _, _ = w.ReadFrom(strings.NewReader("body")) },
		"flush":      func(w *cors.Writer) { w.Flush() },
		"controller": func(w *cors.Writer) { _ = http.NewResponseController(w).Flush() },
		"takeover": func(w *cors.Writer) {
			if _, _, err := w.Hijack(); !errors.Is(err, errTaken) {
				t.Errorf("a takeover: %v", err)
			}
		},
		"nothing": func(w *cors.Writer) { w.Send() },
	} {
		inner := hijacker{httptest.NewRecorder()}
		mended := 0
		w := cors.NewWriter(inner, func() {
			mended++
			inner.Header().Set("Mended", "yes")
		})
		w.WriteHeader(http.StatusEarlyHints) // after which there is another one
		w.WriteHeader(http.StatusContinue)
		if mended != 0 {
			t.Errorf("%s: mended before it", name)
		}
		if send(w); mended != 1 {
			t.Errorf("%s: mended %d times", name, mended)
		}
		send(w)
		if _, _ = w.Write(nil); mended != 1 {
			t.Errorf("%s: then mended %d times", name, mended)
		}
		if w.Unwrap() != http.ResponseWriter(inner) {
			t.Errorf("%s: it hides the writer", name)
		}
	}
}

// What goes through it arrives.
func TestWriterPasses(t *testing.T) {
	inner := httptest.NewRecorder()
	w := cors.NewWriter(inner, func() { inner.Header().Set("Mended", "yes") })
	w.WriteHeader(http.StatusTeapot)
	n, err := w.Write([]byte("one "))
	m, err2 := w.ReadFrom(strings.NewReader("two"))
	if err3 := w.FlushError(); n != 4 || m != 3 || err != nil || err2 != nil || err3 != nil {
		t.Errorf("%d, %d: %v, %v, %v", n, m, err, err2, err3)
	}
	got := inner.Result()
	if got.StatusCode != http.StatusTeapot || got.Header.Get("Mended") != "yes" || inner.Body.String() != "one two" || !inner.Flushed {
		t.Errorf("%d %v %q, flushed %v", got.StatusCode, got.Header, inner.Body, inner.Flushed)
	}
	bare := cors.NewWriter(struct{ http.ResponseWriter }{inner}, func() {})
	if err := bare.FlushError(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("flushing what cannot be flushed: %v", err)
	}
}
