package realtime_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// Nothing that is published once Revoke has returned reaches the user, while the
// publisher goes on all the time.
func TestRevoke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for range 10 {
			ada := h.socket(get("/realtime", "Authorization", "Bearer ada"))
			late := h.dial(get("/realtime?auth=hello"))
			late.send(`{"op":"hello","cid":"` + tab1 + `","token":"ada"}`)
			late.want("hello")
			bob := h.socket(get("/realtime", "Authorization", "Bearer bob"))
			stream, others := h.ren(get("/ren", "Authorization", "Bearer ada")), h.ren(get("/ren", "Authorization", "Bearer bob"))
			for _, s := range []*socket{ada, late, bob} {
				s.ok(subscribe("room"))
			}
			talk := h.talk("room")
			bob.data(120)
			if err := h.Revoke(t.Context(), "ada"); err != nil {
				t.Error(err)
			}
			revoked := talk.next.Load()
			bob.data(50)
			talk.end()
			for _, s := range []*socket{ada, late} {
				code, last := s.closed()
				bye := last[len(last)-1]
				if code != 4403 || bye.Event != "bye" || bye.Reason != "revoked" {
					t.Errorf("closed with %d, last %s", code, bye.raw)
				}
				for _, o := range last {
					if i, _ := strconv.ParseInt(string(o.Data), 10, 64); i > revoked {
						t.Errorf("got %s after Revoke, which returned at %d", o.raw, revoked)
					}
				}
			}
			events := stream.rest()
			if bye := events[len(events)-1]; bye.Name != "ren.bye" || bye.Reason != "revoked" {
				t.Errorf("last of the stream: %s %s", bye.Name, bye.Raw)
			}
			for _, ev := range events {
				if i, _ := strconv.ParseInt(string(ev.Data), 10, 64); i > revoked {
					t.Errorf("got %s after Revoke, which returned at %d", ev.Raw, revoked)
				}
			}
			stream.ended()
			bob.answer(bob.ask(`"op":"ping"`))
			others.cut()
			bob.drop()
		}
	})
}

// A WebSocket whose client has not said yet who it is, is not that of an anonymous client. One
// that turns out to be so is authenticated again.
func TestRevokeAnonymousDuringHello(t *testing.T) {
	for _, user := range []string{"ada", ""} {
		for name, hello := range map[string]string{"before": "", "meanwhile": `{"op":"hello","cid":"` + tab1 + `","token":"` + user + `"}`} {
			bubble(t, name+", "+user, func(t *testing.T) {
				p := open()
				authenticate := p.Authenticate
				p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
					time.Sleep(time.Second)
					return authenticate(r)
				}
				h := start(t, p, nil)
				s := h.dial(get("/realtime?auth=hello"))
				if hello != "" {
					s.send(hello)
				}
				synctest.Wait()
				noError(t, h.Revoke(t.Context(), ""))
				if hello == "" {
					s.send(`{"op":"hello","cid":"` + tab1 + `","token":"` + user + `"}`)
				}
				switch o := s.next(); {
				case user == "" && hello != "": // Authenticate may have looked before the change
					if code, _ := s.closed(); o.Code != "unavailable" || code != 4503 {
						t.Errorf("told %s, closed with %d", o.raw, code)
					}
				case o.Event != "hello" || o.UserID != user:
					t.Errorf("told %s", o.raw)
				}
			})
		}
	}
}

// A client cannot put its revocation off by not listening.
func TestRevokeStalledClients(t *testing.T) {
	for _, kind := range []string{"REN", "WebSocket", "WebSocket that does not close"} {
		bubble(t, kind, func(t *testing.T) {
			h := start(t, open(), nil)
			switch as := "Bearer ada"; kind {
			case "REN":
				h.renStalled(get("/ren", "Authorization", as))
			case "WebSocket":
				h.dialStalled(get("/realtime", "Authorization", as)).send(`{"op":"hello","cid":"` + tab1 + `"}`)
			default:
				s := h.dialStalled(get("/realtime", "Authorization", as))
				s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
				go io.Copy(io.Discard, s.net)
			}
			for range 100 {
				h.publish("room", strings.Repeat("x", 1000))
			}
			synctest.Wait()
			began := time.Now()
			if err := h.Revoke(t.Context(), "ada"); err != nil || time.Since(began) > time.Second {
				t.Errorf("Revoke: %v after %v, want within 1 s", err, time.Since(began))
			}
		})
	}
}

// See must not change rights, since the connection that asks it cannot end or be checked
// meanwhile. If it does all the same, the call fails after a while, and takes nobody
// with it.
func TestRightsChangedWithinSee(t *testing.T) {
	for name, change := range map[string]func(*host) error{
		"Revoke":  func(h *host) error { return h.Revoke(context.Background(), "ada") },
		"Recheck": func(h *host) error { return h.Recheck(context.Background(), "ada") },
	} {
		for path, connect := range map[string]func(*host){
			"REN":       func(h *host) { h.ren(adaREN) },
			"WebSocket": func(h *host) { h.socket(adaSocket).ok(subscribe("room")) },
		} {
			bubble(t, name+"/"+path, func(t *testing.T) {
				var h *host
				failed := make(chan error, 1)
				var once sync.Once
				p := open()
				p.See = func(id realtime.Identity, _ realtime.RenEvent) bool {
					if id.User == "ada" {
						once.Do(func() { failed <- change(h) })
					}
					return true
				}
				h = start(t, p, nil)
				connect(h)
				bob := h.socket(get("/realtime", "Authorization", "Bearer bob"))
				bob.ok(subscribe("room"))
				began := time.Now()
				h.publish("room", 1)
				bob.want("message")
				if took := time.Since(began); took > time.Second {
					t.Errorf("another connection waited for %v", took)
				}
				if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if took := time.Since(began); took > 40*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}
