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

// A request that says twice where it comes from is judged by neither: no browser sends it.
func TestSeveralOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{app}
		h := start(t, p, nil)
		for _, header := range []http.Header{
			{"Origin": {app, evil}},
			{"Origin": {"http://host.test", evil}},
			{"Origin": {"", evil}},
			{"Sec-Fetch-Site": {"same-origin", "cross-site"}},
			{"Sec-Fetch-Site": {"", "cross-site"}, "Origin": {"http://host.test"}},
		} {
			for _, path := range []string{"/ren", "/realtime", "/realtime?auth=hello"} {
				ask := get(path)
				ask.header = header.Clone()
				if h.admitted(ask) {
					t.Errorf("%s with %v is let in", path, header)
				}
			}
			r := httptest.NewRequest("GET", "/realtime.js", nil)
			r.Host, r.Header = "host.test", header
			w := httptest.NewRecorder()
			if h.handler.ServeHTTP(w, r); w.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%v may read: %v", header, w.Header())
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

func TestBadOrigins(t *testing.T) {
	for _, origin := range []string{"", "*", "https://app.example.com/", "wss://app.example.com"} {
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
		"HTTPS://App.Example.COM:443":   "https://app.example.com",
		"http://[0:0:0:0:0:0:0:1]:3000": "http://[::1]:3000",
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
