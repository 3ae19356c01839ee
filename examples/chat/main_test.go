package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime"
)

func newChat(t *testing.T) http.Handler {
	t.Helper()
	return handler(newRealtime(t))
}

func newRealtime(t *testing.T) *realtime.Realtime {
	t.Helper()
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return rt
}

// With the flag the inspector is there, for browsers of this machine.
func TestInspector(t *testing.T) {
	rt := newRealtime(t)
	get := func(h http.Handler, peer, host string) int {
		r := httptest.NewRequest(http.MethodGet, "/inspector/overview", nil)
		r.RemoteAddr, r.Host = peer, host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if got := get(inspected(rt, handler(rt)), "127.0.0.1:1234", "localhost:8080"); got != http.StatusNotFound {
		t.Errorf("without the flag: %d", got)
	}
	*inspect = true
	defer func() { *inspect = false }()
	app := inspected(rt, handler(rt))
	for _, c := range []struct {
		peer, host string
		want       int
	}{
		{"127.0.0.1:1234", "localhost:8080", 200}, {"[::1]:1234", "127.0.0.1:8080", 200},
		{"192.0.2.1:1234", "localhost:8080", 403}, {"127.0.0.1:1234", "evil.test:8080", 403}, {"nonsense", "localhost:8080", 403},
	} {
		if got := get(app, c.peer, c.host); got != c.want {
			t.Errorf("%s asks %s: %d, want %d", c.peer, c.host, got, c.want)
		}
	}
}

func TestPage(t *testing.T) {
	chat := newChat(t)
	for path, want := range map[string]string{
		"/":                          "text/html; charset=utf-8",
		"/app.js":                    "text/javascript; charset=utf-8",
		"/style.css":                 "text/css; charset=utf-8",
		"/shared/base.css":           "text/css; charset=utf-8",
		"/api/maravilla/realtime.js": "text/javascript; charset=utf-8",
		"/api/topic?room=lobby":      "application/json",
	} {
		w := httptest.NewRecorder()
		chat.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != want {
			t.Errorf("GET %s: %d, %s; want 200, %s", path, w.Code, got, want)
		}
	}
}

func TestPost(t *testing.T) {
	chat := newChat(t)
	const ok = `{"room":"lobby","user":"u1","name":"Ada","text":"hello"}`
	for _, c := range []struct {
		name, path, kind, site, body string
		want                         int
	}{
		{"message", "/api/say", "application/json; charset=utf-8", "same-origin", ok, 204},
		{"topic", "/api/topic", "application/json", "", `{"room":"lobby","topic":"new"}`, 204},
		{"no topic", "/api/topic", "application/json", "", `{"room":"lobby"}`, 204},
		{"form", "/api/say", "application/x-www-form-urlencoded", "", "room=lobby", 415},
		{"text", "/api/say", "text/plain", "", ok, 415},
		{"another site", "/api/say", "application/json", "cross-site", ok, 403},
		{"not JSON", "/api/say", "application/json", "", `{"room":`, 400},
		{"no room", "/api/say", "application/json", "", `{"user":"u1","name":"Ada","text":"hello"}`, 400},
		{"room with control characters", "/api/say", "application/json", "", `{"room":"\u0007","user":"u1","name":"Ada","text":"hello"}`, 400},
		{"long text", "/api/say", "application/json", "", strings.Replace(ok, "hello", strings.Repeat("ä", 2001), 1), 400},
		{"large body", "/api/say", "application/json", "", strings.Replace(ok, "hello", strings.Repeat("a", 17<<10), 1), 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", c.kind)
			r.Header.Set("Sec-Fetch-Site", c.site)
			w := httptest.NewRecorder()
			if chat.ServeHTTP(w, r); w.Code != c.want {
				t.Errorf("%d %s; want %d", w.Code, w.Body, c.want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	w := httptest.NewRecorder()
	if newChat(t).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil)); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A page of another site whose name was made to resolve to this machine gets
// nothing, neither from the library nor from the app.
func TestRebinding(t *testing.T) {
	server := httptest.NewServer(newChat(t))
	defer server.Close()
	for _, route := range []struct{ method, path string }{
		{"GET", "/"}, {"GET", "/api/topic?room=lobby"}, {"POST", "/api/say"}, {"GET", "/api/maravilla/ren"},
		{"GET", "/api/maravilla/realtime"}, {"GET", "/api/maravilla/realtime.js"},
	} {
		for host, refused := range map[string]bool{"rebind.test": true, "localhost:8080": false, "": false} {
			r, err := http.NewRequestWithContext(t.Context(), route.method, server.URL+route.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.StatusCode == http.StatusMisdirectedRequest; got != refused {
				t.Errorf("%s %s for %q: %s", route.method, route.path, host, resp.Status)
			}
		}
	}
}
