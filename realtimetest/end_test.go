package realtimetest_test

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// ending is a test whose clean-up comes when end is called.
type ending struct {
	fake
	cleanups []func()
}

func (e *ending) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

func (e *ending) end() {
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
}

// unended is what tests leave to the server to end.
var unended = []struct {
	name string
	do   func(*testing.T, *realtimetest.Server)
}{
	{"nothing", func(*testing.T, *realtimetest.Server) {}},
	{"recorders", func(_ *testing.T, srv *realtimetest.Server) { srv.Record(realtime.EventMatch{}) }},
	{"a stream", func(t *testing.T, srv *realtimetest.Server) { open(t, srv, "/ren") }},
	{"a handler that waits for its client", func(t *testing.T, srv *realtimetest.Server) { open(t, srv, "/slow") }},
	{"a WebSocket", func(t *testing.T, srv *realtimetest.Server) { dial(t, srv, "room") }},
	{"a stalled network", func(t *testing.T, srv *realtimetest.Server) {
		dial(t, srv, "room")
		open(t, srv, "/ren")
		srv.Net.Stall()
	}},
	{"a client that reads from a stalled network", func(t *testing.T, srv *realtimetest.Server) {
		resp, err := srv.HTTPClient().Get(srv.URL + "/ren")
		must(t, err)
		go io.Copy(io.Discard, resp.Body)
		srv.Net.Stall()
	}},
	{"an idle connection", func(t *testing.T, srv *realtimetest.Server) {
		resp, err := srv.HTTPClient().Get(srv.URL + "/realtime.js")
		must(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, errors.Join(err, resp.Body.Close()))
	}},
	{"a handler that took its connection over", func(t *testing.T, srv *realtimetest.Server) {
		conn, err := srv.Net.Dial(t.Context(), "", "")
		must(t, err)
		_, err = conn.Write([]byte("GET /hijack HTTP/1.1\r\nHost: realtime.test\r\n\r\n"))
		must(t, err)
		_, err = conn.Read(make([]byte, 1))
		must(t, err)
	}},
	{"a held log", func(t *testing.T, srv *realtimetest.Server) { srv.Log.Hold(); put(t, srv, "a") }},
	{"a Realtime that is closed", func(t *testing.T, srv *realtimetest.Server) { must(t, srv.Realtime.Close(t.Context())) }},
}

// When the test has ended, nothing of the server runs, whatever the test has not
// ended. In a bubble the bubble proves it; outside, the handlers and goroutines
// that are left are counted.
func TestEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, c := range unended {
		leave := func(t *testing.T) {
			var handlers atomic.Int32
			t.Cleanup(func() { // runs after the server's
				if n := handlers.Load(); n != 0 {
					t.Errorf("%d handlers run", n)
				}
			})
			srv := realtimetest.New(t, realtime.AllowAll(), &realtimetest.Options{
				Handler: func(rt *realtime.Realtime) http.Handler { return lingering(t, rt, &handlers) },
			})
			c.do(t, srv)
		}
		bubble(t, c.name, leave)
		if c.name != "a held log" && !strings.Contains(c.name, "stalled") { // these wait for a second
			t.Run(c.name+", outside", leave)
		}
	}
	// Those of HTTP clients end by themselves once their connections have.
	if !pace.Poll(20*time.Second, time.Millisecond, func() bool { return runtime.NumGoroutine() <= before }) {
		stacks := make([]byte, 1<<20)
		t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// lingering serves rt, and handlers that go on for a while after their end. It counts
// those that run.
func lingering(t *testing.T, rt *realtime.Realtime, running *atomic.Int32) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", rt.Handler())
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		linger()
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		conn.Write([]byte("."))
		conn.Read(make([]byte, 1))
		linger()
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Add(-1)
		mux.ServeHTTP(w, r)
	})
}

// linger gives those who do not wait for a handler the time to show it.
func linger() {
	for range 100 {
		runtime.Gosched()
	}
}

// open sends a request whose answer begins and does not end.
func open(t *testing.T, srv *realtimetest.Server, path string) {
	t.Helper()
	resp, err := srv.HTTPClient().Get(srv.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
}
