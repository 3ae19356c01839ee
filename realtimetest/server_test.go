package realtimetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// page is what a browser's page is to a host: it follows the stream of changes,
// and comes back by itself when the stream ends.
type page struct {
	mu      sync.Mutex
	seen    []string // keys, and "reset"
	streams int
	pings   int
}

// follow opens a page that lives as long as the test.
func follow(t *testing.T, srv *realtimetest.Server) *page {
	p, client := &page{}, srv.HTTPClient()
	ctx, cancel := context.WithCancel(context.Background())
	var gone sync.WaitGroup
	t.Cleanup(func() { cancel(); gone.Wait() })
	gone.Go(func() {
		for last := ""; ctx.Err() == nil; {
			last = p.stream(ctx, client, srv.URL, last)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	})
	return p
}

// stream reads one stream, which begins after an event, and returns the last.
func (p *page) stream(ctx context.Context, client *http.Client, url, last string) string {
	// A stream that has said nothing for a minute is dead.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(time.Minute, cancel)
	defer watchdog.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ren?s=kv", nil)
	if err != nil {
		panic(err) // the test's own fault
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := client.Do(req)
	if err != nil {
		return last
	}
	defer resp.Body.Close()
	p.mu.Lock()
	p.streams++
	p.mu.Unlock()
	for r := sse.NewReader(resp.Body, 1<<20); ; {
		ev, err := r.Next()
		if err != nil {
			return last
		}
		watchdog.Reset(time.Minute)
		last = ev.ID
		p.read(ev)
	}
}

func (p *page) read(ev sse.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case ev.Name == "ren.ping":
		p.pings++
	case ev.Name == "ren.reset", ev.Name == "ren.hello" && strings.Contains(ev.Data, `"state":"reset"`):
		p.seen = append(p.seen, "reset")
	case ev.Name == "message":
		_, key, _ := strings.Cut(ev.Data, `"k":"`)
		key, _, _ = strings.Cut(key, `"`)
		p.seen = append(p.seen, key)
	}
}

// want compares what the page has seen by now.
func (p *page) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := strings.Join(p.seen, " "); got != want {
		t.Errorf("the page has seen %q, want %q", got, want)
	}
}

// dial opens a WebSocket that is present in a room until the test ends.
func dial(t *testing.T, srv *realtimetest.Server, room string) {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), srv.URL+"/realtime", &websocket.DialOptions{
		HTTPClient: srv.HTTPClient(), Subprotocols: []string{"maravilla.realtime.v1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{
		`{"op":"hello","cid":"browser-0001.tab1"}`, `{"op":"join","ref":1,"channel":"` + room + `","userId":"ada"}`,
	} {
		if err := ws.Write(t.Context(), websocket.MessageText, []byte(op)); err != nil {
			t.Fatal(err)
		}
	}
	var gone sync.WaitGroup
	t.Cleanup(func() { ws.CloseNow(); gone.Wait() })
	gone.Go(func() {
		for err := error(nil); err == nil; {
			_, _, err = ws.Read(context.Background())
		}
	})
}

// An hour of a host with a page that follows, a browser that is present, and a
// server's member whose lease is renewed each minute.
func TestAnHour(t *testing.T) {
	began := time.Now()
	bubble(t, "of heartbeats and leases", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.AllowAll(), nil)
		rec := srv.Record(realtime.EventMatch{Resource: "presence"})
		p := follow(t, srv)
		dial(t, srv, "room:1")
		bot := func() { must(t, srv.Realtime.Presence().Join(t.Context(), "room:1", "bot", nil)) }
		bot()
		rec.Wait(realtime.EventMatch{Type: "presence.join"})
		rec.Wait(realtime.EventMatch{Type: "presence.join"})
		for range 60 {
			time.Sleep(time.Minute)
			bot()
		}
		rec.None() // nobody flaps
		p.mu.Lock()
		if p.pings < 3600/25-p.streams || p.streams < 5 || p.streams > 8 {
			t.Errorf("%d heartbeats on %d streams of 10 minutes", p.pings, p.streams)
		}
		t.Logf("%d heartbeats on %d streams", p.pings, p.streams)
		p.mu.Unlock()
		if ev := rec.Next(); ev.Type != "presence.leave" || ev.User != "bot" {
			t.Errorf("after the last lease came %+v", ev)
		}
	})
	t.Logf("an hour took %v", time.Since(began))
}

func TestFaults(t *testing.T) {
	bubble(t, "a page survives cuts, silence and a log that lost its tail", faultsOfANetwork)
	bubble(t, "chosen connections", faultsOfChosenConnections)
	bubble(t, "a request that is cut", faultOfARequest)
}

func faultsOfANetwork(t *testing.T) {
	srv := realtimetest.New(t, realtime.AllowAll(), nil)
	p := follow(t, srv)
	synctest.Wait()
	put(t, srv, "a")
	p.want(t, "a")

	srv.Net.Cut()
	put(t, srv, "b")
	p.want(t, "a")
	time.Sleep(2 * time.Second)
	p.want(t, "a b")

	srv.Net.Stall()
	put(t, srv, "c")
	time.Sleep(2 * time.Minute) // the server and the page give each other up
	p.want(t, "a b")
	srv.Net.Resume()
	time.Sleep(time.Minute)
	p.want(t, "a b c")

	srv.Log.LoseTail(2)
	time.Sleep(time.Second)
	put(t, srv, "d")
	p.want(t, "a b c reset d")

	srv.Log.Hold()
	put(t, srv, "e")
	p.want(t, "a b c reset d")
	srv.Log.Release()
	p.want(t, "a b c reset d e")

	full := errors.New("disk full")
	srv.Log.FailAppend(1, full)
	if err := srv.Realtime.Emit(t.Context(), realtime.KVPut("demo", "f")); !errors.Is(err, full) {
		t.Errorf("Emit returned %v", err)
	}
}

func faultsOfChosenConnections(t *testing.T) {
	srv := realtimetest.New(t, realtime.AllowAll(), nil)
	a := follow(t, srv)
	synctest.Wait()
	b := follow(t, srv)
	synctest.Wait()
	conns := srv.Net.Conns()
	if len(conns) != 2 {
		t.Fatalf("%d connections", len(conns))
	}
	conns[1].Stall()
	put(t, srv, "x")
	a.want(t, "x")
	b.want(t, "")
	conns[1].Resume()
	b.want(t, "x")
	conns[0].Cut()
	put(t, srv, "y")
	a.want(t, "x")
	b.want(t, "x y")
	if n := len(srv.Net.Conns()); n != 1 {
		t.Errorf("%d connections are left", n)
	}
}

func faultOfARequest(t *testing.T) {
	srv := realtimetest.New(t, realtime.Policy{}, &realtimetest.Options{
		Handler: func(*realtime.Realtime) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		},
	})
	time.AfterFunc(time.Second, srv.Net.Cut)
	if _, err := srv.HTTPClient().Get(srv.URL); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Get returned %v", err)
	}
}

func TestServer(t *testing.T) {
	serves := func(t *testing.T) {
		srv := realtimetest.New(t, realtime.Policy{}, &realtimetest.Options{
			Handler: func(rt *realtime.Realtime) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if err := rt.Emit(r.Context(), realtime.KVPut("demo", r.URL.Path)); err != nil {
						t.Error(err)
					}
					fmt.Fprint(w, r.Host)
				})
			},
		})
		rec := srv.Record(realtime.EventMatch{})
		resp, err := srv.HTTPClient().Get(srv.URL + "/todos")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "realtime.test" {
			t.Errorf("the handler answered %q, %v", body, err)
		}
		rec.Expect(key("/todos"))
		rec.None()
	}
	bubble(t, "serves the host's handler in a bubble", serves)
	t.Run("serves the host's handler outside", serves)
	bubble(t, "labels requests by default", serverLabelsRequests)
	bubble(t, "observes connections for the host as well", serverObservesConnections)
	bubble(t, "ends without ever having started", func(t *testing.T) {
		srv := realtimetest.NewUnstarted(t, realtime.Policy{}, nil)
		go srv.HTTPClient().Get(srv.URL)
	})
	bubble(t, "keeps the log", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.AllowAll(), nil)
		if log := srv.Logs(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "AllowAll") {
			t.Errorf("the log is %q", log)
		}
	})
	bubble(t, "shows the log of a test that fails", serverShowsItsLog)
	bubble(t, "leaves the host's logger and backend alone", serverLeavesTheHostsOwn)
}

func serverLabelsRequests(t *testing.T) {
	srv := realtimetest.New(t, realtime.AllowAll(), nil)
	resp, err := srv.HTTPClient().Get(srv.URL + "/realtime.js")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Ren-Cursor") == "" {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}
}

func serverObservesConnections(t *testing.T) {
	srv := realtimetest.NewUnstarted(t, realtime.AllowAll(), nil)
	var states []string
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) { states = append(states, s.String()) }
	srv.Start()
	client := srv.HTTPClient()
	resp, err := client.Get(srv.URL + "/realtime.js")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()
	synctest.Wait()
	if got := strings.Join(states, " "); got != "new active closed" && got != "new active idle closed" {
		t.Errorf("states are %s", got)
	}
}

func serverShowsItsLog(t *testing.T) {
	for _, failed := range []bool{false, true} {
		f := &ending{fake: fake{T: t, failed: failed}}
		realtimetest.New(f, realtime.AllowAll(), nil)
		f.end()
		if got := strings.Contains(f.logged, "the server's log:\ntime=") && strings.Contains(f.logged, "AllowAll"); got != failed {
			t.Errorf("failed: %v, and logged %q", failed, f.logged)
		}
	}
}

func serverLeavesTheHostsOwn(t *testing.T) {
	var log strings.Builder
	var b backend.Backend = memory.New(memory.Limits{})
	srv := realtimetest.New(t, realtime.AllowAll(), &realtimetest.Options{
		Realtime: realtime.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Backend: b},
	})
	if srv.Logs() != "" || !strings.Contains(log.String(), "AllowAll") || srv.Log != nil {
		t.Errorf("logs %q and %q, faults %v", srv.Logs(), log.String(), srv.Log)
	}
	put(t, srv, "a")
	if page, err := b.Read(t.Context(), backend.Position{}, 10); err != nil || len(page.Records) != 1 {
		t.Errorf("the backend has %v, %v", page, err)
	}
}
