package inspector_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/inspector"
	"github.com/maravilla-realtime/realtime/internal/memnet"
)

// crowd opens n streams, and publishes to m channels.
func crowd(b *testing.B, n, m int) *realtime.Realtime {
	b.Helper()
	all := realtime.AllowAll()
	rt, err := realtime.New(realtime.Policy{Authenticate: all.Authenticate, Allow: all.Allow, Grants: all.Grants},
		&realtime.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
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
	for range n {
		resp, err := c.Get("http://host.test/ren?s=kv")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { resp.Body.Close() })
	}
	for i := range m {
		if err := rt.Publish(b.Context(), fmt.Sprint("room:", i), i); err != nil {
			b.Fatal(err)
		}
	}
	return rt
}

// BenchmarkViews measures each view with 10,000 connections and 1,000 channels. A page
// asks every two seconds: 20 ms are 1 % of a core.
func BenchmarkViews(b *testing.B) {
	h := inspector.Handler(crowd(b, 10_000, 1_000), func(*http.Request) error { return nil })
	for _, view := range []string{"overview", "connections?sort=lag&desc=1", "connections?q=x", "channels?sort=followers&desc=1", "refusals", "groups"} {
		b.Run(view, func(b *testing.B) {
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/inspector/"+view, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
