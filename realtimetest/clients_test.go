package realtimetest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

func TestClients(t *testing.T) {
	bubble(t, "a stream that begins with the call, and survives a cut", clientsStream)
	bubble(t, "a Since is kept", clientsSince)
	bubble(t, "channels, that are two clients", clientsChannels)
	bubble(t, "a client that is refused", clientsRefused)
	bubble(t, "a client's log is the server's", clientsLog)
	t.Run("outside of a bubble", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.AllowAll(), nil)
		must(t, srv.Connect(nil).Publish(t.Context(), "room:42", "hello"))
	})
}

func clientsStream(t *testing.T) {
	srv := realtimetest.New(t, realtime.AllowAll(), nil)
	put(t, srv, "before")
	ren := srv.Ren(&client.RenOptions{Subscriptions: []string{"kv"}})
	put(t, srv, "a")
	want := []string{"a", "b", "c"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ev, err := range ren.Events(ctx) {
		if err != nil || ev.Key != want[0] {
			t.Fatalf("%s, %v; want %s", ev.Key, err, want[0])
		}
		if want = want[1:]; len(want) == 0 {
			break
		}
		srv.Net.Cut()
		put(t, srv, want[0])
	}
}

func clientsSince(t *testing.T) {
	srv := realtimetest.New(t, realtime.AllowAll(), nil)
	start := srv.Realtime.Cursor()
	put(t, srv, "before")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ev, err := range srv.Ren(&client.RenOptions{Since: start}).Events(ctx) {
		if err != nil || ev.Key != "before" {
			t.Errorf("%s, %v", ev.Key, err)
		}
		break
	}
}

func clientsChannels(t *testing.T) {
	srv := realtimetest.New(t, realtime.AllowAll(), nil)
	rec := srv.Record(realtime.EventMatch{Resource: "presence"})
	ada, bob := srv.Connect(nil), srv.Connect(nil)
	if n := len(srv.Net.Conns()); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	heard := ada.Subscribe(t.Context(), "room:42")
	synctest.Wait()
	must(t, bob.Publish(t.Context(), "room:42", "hello"))
	for msg, err := range heard {
		if err != nil || string(msg.Data) != `"hello"` || msg.From != bob.Tag() {
			t.Errorf("%s from %s, %v", msg.Data, msg.From, err)
		}
		break
	}
	must(t, ada.Presence("room:42").Join(t.Context(), "ada", nil))
	rec.Expect(realtime.EventMatch{Type: "presence.join"})
	must(t, ada.Close())
	time.Sleep(5 * time.Second) // the grace of a connection that was closed
	rec.Expect(realtime.EventMatch{Type: "presence.leave"})
}

func clientsRefused(t *testing.T) {
	srv := realtimetest.New(t, realtime.Policy{}, nil)
	rt := srv.Connect(nil)
	time.Sleep(31 * time.Second) // it ends after 30 s, in which credentials may be renewed
	var refused *client.Error
	if err := rt.Close(); !errors.As(err, &refused) || refused.Code != "unauthorized" {
		t.Errorf("it ended with %v", err)
	}
}

func clientsLog(t *testing.T) {
	srv := realtimetest.New(t, realtime.AllowAll(), &realtimetest.Options{
		Handler: func(*realtime.Realtime) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, "event: ren.hello\ndata: {\n\n")
			})
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for range srv.Ren(nil).Events(ctx) {
	}
	if !strings.Contains(srv.Logs(), "unreadable") {
		t.Errorf("logged: %s", srv.Logs())
	}
}
