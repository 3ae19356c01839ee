package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

func newAI(t *testing.T) *ai {
	t.Helper()
	rt, err := realtime.New(realtime.AllowAll(), options())
	if err != nil {
		t.Fatal(err)
	}
	a := &ai{rt: rt}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
		a.answering.Wait()
	})
	return a
}

func TestPage(t *testing.T) {
	handler := newAI(t).handler()
	for path, want := range map[string]string{
		"/":                          "text/html; charset=utf-8",
		"/app.js":                    "text/javascript; charset=utf-8",
		"/markdown.js":               "text/javascript; charset=utf-8",
		"/style.css":                 "text/css; charset=utf-8",
		"/shared/base.css":           "text/css; charset=utf-8",
		"/api/maravilla/realtime.js": "text/javascript; charset=utf-8",
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != want {
			t.Errorf("GET %s: %d, %s; want 200, %s", path, w.Code, got, want)
		}
	}
}

func post(a *ai, path, site, body string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", site)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, r)
	return w
}

func TestPost(t *testing.T) {
	a := newAI(t)
	const ok = `{"chat":"launch","text":"hello"}`
	named := &http.Cookie{Name: cookie, Value: "somebody"}
	for _, c := range []struct {
		name, path, site, body string
		cookies                []*http.Cookie
		want                   int
	}{
		{"question", "/api/ask", "same-origin", ok, nil, 204},
		{"longest question", "/api/ask", "", strings.Replace(ok, "hello", strings.Repeat("<", 500), 1), nil, 204},
		{"long question", "/api/ask", "", strings.Replace(ok, "hello", strings.Repeat("ä", 501), 1), nil, 400},
		{"no question", "/api/ask", "", `{"chat":"launch","text":" "}`, nil, 400},
		{"no conversation", "/api/ask", "", `{"text":"hello"}`, nil, 400},
		{"control characters", "/api/ask", "", `{"chat":"\u0007","text":"hello"}`, nil, 400},
		{"another site", "/api/ask", "cross-site", ok, nil, 403},
		{"unplug", "/api/unplug", "", `{}`, []*http.Cookie{named}, 200},
		{"unplug without a name", "/api/unplug", "", `{}`, nil, 400},
		{"unplug from another site", "/api/unplug", "cross-site", `{}`, []*http.Cookie{named}, 403},
	} {
		if w := post(a, c.path, c.site, c.body, c.cookies...); w.Code != c.want {
			t.Errorf("%s: %d %s; want %d", c.name, w.Code, w.Body, c.want)
		}
	}
}

// A question is told to the conversation when its answer begins, and the answer when it
// is complete.
func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAI(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		events := make(chan realtime.RenEvent, 2)
		go func() {
			defer close(events)
			for ev, err := range a.rt.Events(ctx, realtime.EventMatch{}) {
				if err != nil {
					return
				}
				events <- ev
			}
		}()
		synctest.Wait()
		if w := post(a, "/api/ask", "", `{"chat":"launch","text":"A limerick, please"}`); w.Code != http.StatusNoContent {
			t.Fatal(w.Code, w.Body)
		}
		for _, state := range []string{"streaming", "complete"} {
			ev := <-events
			var data struct {
				Metadata struct{ Question string }
				Text     string
			}
			if err := json.Unmarshal(ev.Data, &data); err != nil {
				t.Fatal(err)
			}
			if ev.Channel != "chat:launch" || ev.Version != state || data.Metadata.Question != "A limerick, please" {
				t.Errorf("%s: got %+v", state, ev)
			}
			if got := strings.Contains(data.Text, "A socket that lived in a train"); got != (state == "complete") {
				t.Errorf("%s: the text is %q", state, data.Text)
			}
		}
		cancel()
		<-events
	})
}

// Who pulls the plug has no WebSocket for a while, and nobody else is touched.
func TestUnplugged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p plug
		get := func(browser string) int {
			r := httptest.NewRequest(http.MethodGet, "/api/maravilla/realtime", nil)
			r.AddCookie(&http.Cookie{Name: cookie, Value: browser})
			w := httptest.NewRecorder()
			p.handler(http.NotFoundHandler()).ServeHTTP(w, r)
			return w.Code
		}
		pull := func(browser string) int {
			r := httptest.NewRequest(http.MethodPost, "/api/unplug", nil)
			r.AddCookie(&http.Cookie{Name: cookie, Value: browser})
			w := httptest.NewRecorder()
			p.pull(w, r)
			return w.Code
		}
		if got := pull("ada"); got != http.StatusOK || get("ada") != http.StatusBadGateway || get("grace") != http.StatusNotFound {
			t.Errorf("unplugged: %d, and then %d and %d", got, get("ada"), get("grace"))
		}
		for i := range 200 {
			pull(strings.Repeat("x", i%64+1) + string(rune('a'+i/64)))
		}
		if len(p.until) > 100 {
			t.Errorf("%d browsers are remembered", len(p.until))
		}
		time.Sleep(unplugged + 1)
		if get("ada") != http.StatusNotFound || pull("ada") != http.StatusOK || len(p.until) != 1 {
			t.Errorf("plugged in again: %d, of %d", get("ada"), len(p.until))
		}
	})
}
