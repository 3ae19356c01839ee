package client_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// secrets are what a request must not say to another server.
func secrets(r *http.Request) (found []string) {
	for _, name := range []string{"X-Ren-Client", "Last-Event-ID", "Authorization", "Cookie", "X-Own", "Referer"} {
		if r.Header.Get(name) != "" {
			found = append(found, name)
		}
	}
	return found
}

// redirecting serves a server that is elsewhere.
func redirecting(t *testing.T, location string) *host {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.Realtime
	h.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/elsewhere" {
			http.Redirect(w, r, location, http.StatusTemporaryRedirect)
			return
		}
		if strings.Contains(r.Header.Get("Connection"), "Upgrade") {
			r.URL.Path = "/api/maravilla/realtime"
		} else {
			r.URL.Path = "/api/maravilla/ren"
		}
		rt.Handler().ServeHTTP(w, r)
	}))
	return h
}

// checkTold checks that each place that was asked was told so many secrets at
// least, or none.
func checkTold(t *testing.T, h *host, want int) {
	t.Helper()
	asked := h.asked()
	if len(asked) < 2 {
		t.Fatalf("%d requests", len(asked))
	}
	if n := len(secrets(asked[0])); n < max(want, 2) {
		t.Errorf("the server itself was told %v", secrets(asked[0]))
	}
	for _, r := range asked[1:] {
		if r.URL.Path != "/api/maravilla/ren" && r.URL.Path != "/api/maravilla/realtime" {
			continue
		}
		if found := secrets(r); len(found) < want || want == 0 && len(found) > 0 {
			t.Errorf("%s was told %v", r.Host, found)
		}
	}
}

var ownHeader = http.Header{"X-Own": {"1"}, "Cookie": {"session=1"}}

func TestRedirects(t *testing.T) {
	for location, same := range map[string]bool{
		"http://host.test/elsewhere":      true,
		"http://HOST.test:80/elsewhere":   true,
		"/elsewhere":                      true,
		"http://other.test/elsewhere":     false,
		"http://sub.host.test/elsewhere":  false,
		"http://host.test:8080/elsewhere": false,
	} {
		bubble(t, "REN to "+location, func(t *testing.T) {
			h := redirecting(t, location)
			cursor := h.Cursor()
			h.emit("a")
			synctest.Wait()
			_, loop := h.ren(&client.RenOptions{
				Header: ownHeader, Since: cursor, Token: func(context.Context) (string, error) { return "secret", nil },
			})
			synctest.Wait()
			h.emit("b")
			if same {
				loop.want(t, "a b")
				checkTold(t, h, 3)
			} else {
				loop.want(t, "reset:unknown b") // nothing was said of the cursor
				checkTold(t, h, 0)
			}
		})
		bubble(t, "channels to "+location, func(t *testing.T) {
			h := redirecting(t, location)
			loop := messages(t, h.realtime(&client.RealtimeOptions{Header: ownHeader}), "room")
			synctest.Wait()
			h.publish("room", "a")
			if same {
				loop.want(t, "a")
				checkTold(t, h, 1)
				return
			}
			loop.want(t, "")
			time.Sleep(time.Minute)
			for _, r := range h.asked() {
				if r.Host != "host.test" {
					t.Errorf("%s was asked for a WebSocket", r.Host)
				}
			}
			if n := len(h.asked()); n < 4 || n > 40 {
				t.Errorf("%d attempts in a minute", n)
			}
		})
	}

}

func TestRedirectThereAndBack(t *testing.T) {
	bubble(t, "there and back", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		rt := h.Realtime
		h.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Host == "other.test":
				http.Redirect(w, r, "http://host.test/back", http.StatusTemporaryRedirect)
			case r.URL.Path == "/back":
				r.URL.Path = "/api/maravilla/ren"
				rt.Handler().ServeHTTP(w, r)
			default:
				http.Redirect(w, r, "http://other.test/", http.StatusTemporaryRedirect)
			}
		}))
		_, loop := h.ren(&client.RenOptions{Header: ownHeader})
		loop.take()
		for _, r := range h.asked()[1:] {
			if found := secrets(r); len(found) > 0 {
				t.Errorf("%s%s was told %v", r.Host, r.URL.Path, found)
			}
		}
	})

}

func TestRedirectsFollowed(t *testing.T) {
	bubble(t, "in a circle", func(t *testing.T) {
		n := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		}))
		n.ren(nil)
		synctest.Wait()
		if asked := len(n.asked()); asked != 10 {
			t.Errorf("%d requests", asked)
		}
	})

	bubble(t, "as the program wishes", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		h.serve(http.RedirectHandler("http://host.test/elsewhere", http.StatusFound))
		var asked atomic.Int32
		h.http.CheckRedirect = func(req *http.Request, via []*http.Request) error {
			asked.Add(1)
			return http.ErrUseLastResponse
		}
		h.ren(nil)
		h.realtime(nil)
		synctest.Wait()
		if asked.Load() != 2 || len(h.asked()) != 2 {
			t.Errorf("the program was asked %d times, the server %d times", asked.Load(), len(h.asked()))
		}
	})
}
