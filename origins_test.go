package realtime_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

func TestOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{"https://app.example.com", "http://localhost:5173"}
		h := start(t, p, nil) // its host is host.test
		for _, c := range []struct {
			site, origin string
			allowed      bool
		}{
			{"", "", true},
			{"", "http://host.test", true},
			{"", "https://host.test", true},
			{"", "http://HOST.test", true},
			{"", "http://host.test:8080", false},
			{"", "http://sub.host.test", false},
			{"", "http://host.test.evil.com", false},
			{"", "http://evil.com", false},
			{"", "http://evil.com/host.test", false},
			{"", "http://host.test@evil.com", false},
			{"", "null", false},
			{"", "file://", false},
			{"", "http://%zz", false},
			{"", "https://app.example.com", true},
			{"", "http://localhost:5173", true},
			{"", "http://localhost:5174", false},
			{"", "http://localhost", false},
			{"", "http://app.example.com", false},
			{"", "https://APP.example.com", false},
			{"", "https://app.example.com/", false},
			{"", "https://app.example.com:443", false},
			{"", "https://x.app.example.com", false},
			{"", "https://app.example.com https://evil.com", false},
			{"same-origin", "", true},
			{"same-origin", "http://renamed.by.proxy", true},
			{"none", "", true},
			{"same-site", "", false},
			{"same-site", "http://sub.host.test", false},
			{"same-site", "https://app.example.com", true},
			{"cross-site", "", false},
			{"cross-site", "http://host.test", false},
			{"cross-site", "null", false},
			{"cross-site", "https://app.example.com", true},
			{"something-new", "http://host.test", false},
		} {
			for _, path := range []string{"/ren", "/realtime", "/realtime?auth=hello"} {
				ask := get(path)
				if c.site != "" {
					ask.header.Set("Sec-Fetch-Site", c.site)
				}
				if c.origin != "" {
					ask.header.Set("Origin", c.origin)
				}
				if got := h.admitted(ask); got != c.allowed {
					t.Errorf("%s for site %q, origin %q: let in is %v", path, c.site, c.origin, got)
				}
			}
		}
	})
}

// An origin without a host, which sandboxed pages and files have, is not that of a
// server that was not told its own, as by HTTP/1.0.
func TestOriginWithoutHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := prepare(t, open(), nil).Realtime
		defer rt.Close(context.Background())
		for _, origin := range []string{"null", "file://"} {
			r := httptest.NewRequest("GET", "/ren", nil)
			r.Host = ""
			r.Header.Set("Origin", origin)
			w := httptest.NewRecorder()
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			rt.RenHandler().ServeHTTP(w, r.WithContext(ctx))
			cancel()
			if w.Code != http.StatusForbidden {
				t.Errorf("%s: %d", origin, w.Code)
			}
		}
	})
}

// An origin and a host are the same with the default port of the origin's scheme
// written or not, in whatever case, and whatever scheme the proxy has taken off.
func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"https://example.com", "example.com:443", true},
		{"https://example.com:443", "example.com", true},
		{"https://example.com:443", "example.com:443", true},
		{"http://example.com", "example.com:80", true},
		{"http://example.com:80", "example.com", true},
		{"HTTPS://Example.COM", "example.com:443", true},
		{"https://example.com", "EXAMPLE.com:443", true},
		{"https://example.com", "example.com.", true},
		{"https://example.com:8443", "example.com:8443", true},
		{"http://example.com:443", "example.com:443", true},
		{"http://[::1]", "[::1]:80", true},
		{"http://[::1]:8080", "[0:0::1]:8080", true},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", true},
		{"https://example.com", "example.com:80", false},
		{"http://example.com", "example.com:443", false},
		{"http://example.com:443", "example.com", false},
		{"https://example.com:80", "example.com", false},
		{"https://example.com", "example.com:8443", false},
		{"https://example.com:8443", "example.com", false},
		{"https://example.com", "www.example.com", false},
		{"https://example.com/", "example.com", false},
		{"https://example.com/x", "example.com", false},
		{"https://user@example.com", "example.com", false},
		{"https://example.com#", "example.com", false},
		{"https:example.com", "example.com", false},
		{"//example.com", "example.com", false},
		{"example.com", "example.com", false},
		{"ftp://example.com", "example.com", false},
		{"capacitor://localhost", "localhost", false},
		{"chrome-extension://example", "example", false},
		{"https://", "", false},
		{"https://:443", ":443", false},
		{"https://[::1", "[::1", false},
		{"https://*", "*", false},
	} {
		rt := prepare(t, open(), nil).Realtime
		for _, path := range []string{"/ren", "/realtime"} {
			r := arriving("GET", path, c.host, nil, upgrade...)
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", c.origin)
			w := httptest.NewRecorder()
			rt.Handler().ServeHTTP(w, r)
			if got := w.Code != http.StatusForbidden; got != c.want {
				t.Errorf("%s for a page of %s at %s: %d", path, c.origin, c.host, w.Code)
			}
		}
	}
}

func TestBadOrigins(t *testing.T) {
	for _, origin := range []string{
		"", "*", "null", "app.example.com", "//app.example.com", "https://app.example.com/", "https://a b",
		"https://*", "https://*.example.com", "https://app.example.com:*", "https://user@app.example.com", "https://user:pw@app.example.com",
		"https://@app.example.com", "https://app.example.com/x", "https://app.example.com?", "https://app.example.com?x", "https://app.example.com#",
		"https://bücher.example", "https://b\u00fccher.example:8443", "https://app.example.com:", "https://app.example.com:0", "https://app.example.com:x",
		"https://app.example.com:70000", "https://", "https:app.example.com", "file://", "file:///x", "wss://app.example.com", "ws://localhost:3000",
		"https://a..b", "https://[::1", "https://[fe80::1%25en0]", " https://app.example.com", "https://app.example.com ", "https://a.example,https://b.example",
		"https://a.example https://b.example", "about:blank", "data:text/html,x", "http://127.1", "http://2130706433:8080", "http://0x7f.0.0.1", "http://127.0.0.01", "http://app.example.1",
		"http://[::ffff:127.0.0.1]:8080", "https://%61pp.example.com",
	} {
		p := open()
		p.Origins = []string{"https://app.example.com", origin}
		rt, err := realtime.New(p, nil)
		if err == nil {
			rt.Close(t.Context())
			t.Errorf("%q is taken for an origin", origin)
		} else if !strings.Contains(err.Error(), "Policy.Origins") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// Origins are compared as browsers send them, however they are written in the
// policy, whose own list stays as it is.
func TestOriginsAsBrowsersSendThem(t *testing.T) {
	for entry, sent := range map[string]string{
		"https://app.example.com":                "https://app.example.com",
		"https://app.example.com:443":            "https://app.example.com",
		"http://app.example.com:80":              "http://app.example.com",
		"http://app.example.com:443":             "http://app.example.com:443",
		"https://app.example.com:08443":          "https://app.example.com:8443",
		"HTTPS://App.Example.COM":                "https://app.example.com",
		"https://app.example.com.":               "https://app.example.com.",
		"http://[0:0:0:0:0:0:0:1]:3000":          "http://[::1]:3000",
		"http://[::1]":                           "http://[::1]",
		"http://127.0.0.1:8080":                  "http://127.0.0.1:8080",
		"https://1.example.com":                  "https://1.example.com",
		"http://LOCALHOST:5173":                  "http://localhost:5173",
		"https://xn--bcher-kva.example":          "https://xn--bcher-kva.example",
		"capacitor://localhost":                  "capacitor://localhost",
		"chrome-extension://abcdefghijklmnopabc": "chrome-extension://abcdefghijklmnopabc",
	} {
		p := open()
		p.Origins = []string{entry}
		rt := prepare(t, p, nil).Realtime
		if w := send(rt.Handler(), "GET", "/realtime.js", "Origin", sent); w.Header().Get("Access-Control-Allow-Origin") != sent {
			t.Errorf("%s: a page of %s is not let in: %v", entry, sent, w.Header())
		}
		if p.Origins[0] != entry {
			t.Errorf("the policy's list has become %q", p.Origins)
		}
	}
}
