//go:build unix

package inspector_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/inspector"
	"github.com/maravilla-realtime/realtime/internal/test/memnet"
)

// crowd publishes to m channels, and has n connections. Of the connections half are
// streams; the others are WebSockets that follow two channels each.
func crowd(b *testing.B, n, m int) *realtime.Realtime {
	b.Helper()
	all := realtime.AllowAll()
	rt, err := realtime.New(realtime.Policy{Authenticate: all.Authenticate, Allow: all.Allow, Grants: all.Grants},
		&realtime.Options{Logger: slog.New(slog.DiscardHandler), Heartbeat: time.Hour}) // which nobody answers
	if err != nil {
		b.Fatal(err)
	}
	for i := range m {
		if err := rt.Publish(b.Context(), fmt.Sprint("room:", i), i); err != nil {
			b.Fatal(err)
		}
	}
	ln := memnet.Listen()
	srv := &http.Server{Handler: rt.Handler()}
	go srv.Serve(ln)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = rt.Close(ctx) // clients do not go
		srv.Close()
	})
	c := &http.Client{Transport: &http.Transport{DialContext: ln.Dial}}
	for i := range n {
		if i%2 == 1 {
			follow(b, c, fmt.Sprint("room:", i%m), fmt.Sprint("room:", 7*i%m))
			continue
		}
		resp, err := c.Get("http://host.test/ren?s=kv")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { resp.Body.Close() })
	}
	return rt
}

// follow opens a WebSocket that follows channels.
func follow(b *testing.B, c *http.Client, channels ...string) {
	b.Helper()
	ws, _, err := websocket.Dial(b.Context(), "ws://host.test/realtime", &websocket.DialOptions{HTTPClient: c})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ws.CloseNow() })
	frames := []string{`{"op":"hello","cid":"0123456789abcdef"}`}
	for _, channel := range channels {
		frames = append(frames, fmt.Sprintf(`{"op":"subscribe","channel":%q}`, channel))
	}
	for _, frame := range frames {
		if err := ws.Write(b.Context(), websocket.MessageText, []byte(frame)); err != nil {
			b.Fatal(err)
		}
		if _, _, err := ws.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// used is the processor time that this process has taken.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkViews measures each view with 10,000 connections and 1,000 channels, and which
// share of a core it takes, garbage included, when a page asks for it every two seconds. By
// then the processor's caches hold other things, so they are filled with them before each
// view.
func BenchmarkViews(b *testing.B) {
	rt := crowd(b, 10_000, 1_000)
	h := inspector.Handler(rt, func(*http.Request) error { return nil })
	others := make([]byte, 64<<20)
	for _, view := range []string{
		"overview", "connections", "connections?sort=lag&desc=1", "connections?sort=age", "connections?q=x", "connections?channel=room:1",
		"channels?sort=followers&desc=1", "refusals", "groups",
	} {
		b.Run(view, func(b *testing.B) {
			b.ReportAllocs()
			var busy time.Duration
			for b.Loop() {
				b.StopTimer()
				for i := 0; i < len(others); i += 64 {
					others[i]++
				}
				before := used()
				b.StartTimer()
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/inspector/"+view, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
				busy += used() - before
			}
			b.ReportMetric(100*(busy/time.Duration(b.N)).Seconds()/2, "%core")
			if open := rt.Stats().REN.Open + rt.Stats().WebSocket.Open; open != 10_000 {
				b.Fatal(open)
			}
		})
	}
}
