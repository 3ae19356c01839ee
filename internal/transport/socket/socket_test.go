package socket

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/poll"
	"github.com/maravilla-realtime/realtime/internal/transport/shard"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// An idle connection does not pay for the burst that it had.
func TestIdleSocketReleasesItsBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, nil)
		conn := toSilent(t)
		defer conn.Close()
		rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		ws, err := wsconn.Accept(conn, rw, httptest.NewRequest("GET", "/", nil), nil, wsconn.Options{WriteTime: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		s := &socket{Driver: d, ws: ws, sent: new(driver.Share)}
		s.session = session.NewChannels(d.node.Ring, func() {}, s, s.view(&nobody), 1)
		s.session.Do(func() { s.session.Subscribe(wire.Op{Channel: "room"}, session.Rewind{}, 1) })
		for range 2 {
			for more := true; more; {
				if more, err = s.fill(); err != nil {
					t.Fatal(err)
				}
			}
			for range uint64(500) {
				d.node.Ring.Put([]*backend.Logged{{Pos: d.node.Ring.Head().Next(), Event: backend.Event{
					Resource: "realtime", Type: "realtime.message", Channel: "room", Data: []byte(`"` + strings.Repeat("x", 20) + `"`), UnixMilli: time.Now().UnixMilli(),
				}}})
			}
		}
		if s.buf != nil {
			t.Error("an idle connection keeps a buffer")
		}
	})
}

// newDriver returns a driver whose policy has that See.
func newDriver(t *testing.T, see func(*policy.Identity, *backend.Event) bool) *Driver {
	log := slog.New(slog.DiscardHandler)
	var shards sync.WaitGroup
	pool := shard.New(1, shards.Go, log)
	t.Cleanup(func() {
		pool.Close()
		shards.Wait()
	})
	return New(Node{
		Node: driver.Node{
			Ring:   ring.New(ring.Limits{Records: 1000, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1}),
			Conns:  conns.New(conns.Limits{}),
			Shards: pool, Policy: &policy.Policy{See: see, Logger: log}, Refused: refused.NewLog(), Logger: log,
			Heartbeat: time.Hour, WriteTimeout: time.Minute,
		},
		Limits: Limits{Message: 1 << 10, Channels: 10, Rate: 10, Burst: 10},
	})
}

type tabKey struct{}

// Which WebSockets shards drive.
func TestTakes(t *testing.T) {
	see := func(*policy.Identity, *backend.Event) bool { return true }
	linux := runtime.GOOS == "linux"
	type way struct {
		hijack driver.Hijack
		see    func(*policy.Identity, *backend.Event) bool
	}
	ways := []way{
		{driver.HijackDefault, nil}, {driver.HijackDefault, see}, {driver.HijackNever, nil}, {driver.HijackPlain, nil}, {driver.HijackPlain, see}, {driver.HijackAlways, see},
	}
	for _, c := range []struct {
		name   string
		change func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request)
		taken  [6]bool // in each of these ways
	}{
		{"the server's own", func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) { return w, r },
			[6]bool{linux, false, false, linux, false, true}},
		{"a wrapped writer", func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
			return struct{ http.ResponseWriter }{w}, r
		}, [6]bool{false, false, false, linux, false, true}},
		{"a value", func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
			return w, r.WithContext(context.WithValue(r.Context(), tabKey{}, "tab"))
		}, [6]bool{false, false, false, linux, false, true}},
		{"a body", func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 1)
			return w, r
		}, [6]bool{false, false, false, linux, false, true}},
		{"TLS", func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
			r.TLS = new(tls.ConnectionState)
			return w, r
		}, [6]bool{false, false, false, false, false, true}},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w, r = c.change(w, r)
			for i, way := range ways {
				d := &Driver{node: Node{Node: driver.Node{Policy: &policy.Policy{See: way.see}, Hijack: way.hijack}}}
				if is := d.takes(w, r); is != c.taken[i] {
					t.Errorf("%s, %d, see %v: %v", c.name, way.hijack, way.see != nil, is)
				}
			}
		}))
		resp, err := http.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		srv.Close()
	}
}

// The policy sees the request that opened a WebSocket as it was, whatever is done to that
// later, and to what the policy was given before.
func TestOpening(t *testing.T) {
	var want, got *http.Request
	var kept opening
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/realtime", func(_ http.ResponseWriter, r *http.Request) {
		r.Header["x-as-a-middleware-writes-it"] = []string{"", "a, b", "\x00\r\n\xff", strings.Repeat("x", 70_000)}
		r.RemoteAddr = "a middleware's"
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		kept = keepRequest(r)
		want = r.Clone(context.Background())
		clear(r.Header)
		clear(r.Form)
		r.URL.Path = "/"
		r.SetPathValue("tenant", "another")
		spoiled := kept.again(t.Context(), "a middleware's")
		clear(spoiled.Header)
		clear(spoiled.Form)
		spoiled.URL.Path = "/"
		spoiled.SetPathValue("tenant", "another")
		got = kept.again(context.Background(), "a middleware's")
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	req, err := http.NewRequest("GET", srv.URL+"/a%2Fb/realtime?x=1&x=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Cookie": {"a=1; b=2"}, "Origin": {"https://app.example"}, "X-Two": {"1", "2"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got == nil || !reflect.DeepEqual(got, want) || got.PathValue("tenant") != "a/b" || got.Header.Get("X-Two") != "1" || got.Form.Get("x") != "1" {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// What an opening keeps as a text is what the request was, and one that has more is kept
// as it is.
func TestOpeningPacked(t *testing.T) {
	cases := map[string]struct {
		change func(*http.Request)
		whole  bool
	}{
		"as it comes": {change: func(*http.Request) {}},
		"headers": {change: func(r *http.Request) {
			r.Header = http.Header{"Cookie": {"a=1", "b=2"}, "Origin": {""}, "X-Own": {"1", ""}, "": {"none"}, "origin": {"as it is written"}}
		}},
		"without headers":   {change: func(r *http.Request) { r.Header = http.Header{} }},
		"without a query":   {change: func(r *http.Request) { r.URL.RawQuery, r.RequestURI = "", r.URL.EscapedPath() }},
		"of another prefix": {change: func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/ws", "" }},
		"with a pattern":    {change: func(r *http.Request) { r.Pattern = "GET /{x}/realtime" }},
		"of another host":   {change: func(r *http.Request) { r.Host = "" }},
		"long":              {change: func(r *http.Request) { r.Header.Set("Cookie", strings.Repeat("x", 70_000)) }},
		"a path value":      {change: func(r *http.Request) { r.SetPathValue("tenant", "a") }, whole: true},
		"a form":            {change: func(r *http.Request) { _ = r.ParseForm() }, whole: true},
		"TLS":               {change: func(r *http.Request) { r.TLS = new(tls.ConnectionState) }, whole: true},
		"a body":            {change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("")) }, whole: true},
		"no target":         {change: func(r *http.Request) { r.RequestURI = "" }, whole: true},
		"a user":            {change: func(r *http.Request) { r.URL.User = url.User("a") }, whole: true},
		"absolute":          {change: func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", "a" }, whole: true},
		"a question mark":   {change: func(r *http.Request) { r.URL.RawQuery, r.URL.ForceQuery = "", true }, whole: true},
		"closing":           {change: func(r *http.Request) { r.Close = true }, whole: true},
		"a length":          {change: func(r *http.Request) { r.ContentLength = -1 }, whole: true},
		"another method":    {change: func(r *http.Request) { r.Method = http.MethodHead }, whole: true},
		"another minor":     {change: func(r *http.Request) { r.ProtoMinor = 2 }, whole: true},
		"another major":     {change: func(r *http.Request) { r.ProtoMajor = 2 }, whole: true},
		"another protocol":  {change: func(r *http.Request) { r.Proto = "HTTP/1.x" }, whole: true},
		"HTTP/1.0":          {change: func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 }, whole: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/a%2Fb/realtime?x=1&x=2", http.NoBody)
			c.change(r)
			kept := keepRequest(r)
			if got := kept.whole != nil; got != c.whole {
				t.Errorf("kept whole: %v", got)
			}
			if got := kept.again(r.Context(), r.RemoteAddr); !reflect.DeepEqual(got, r) {
				t.Errorf("%+v\nwant %+v", got, r)
			}
		})
	}
}

// full is a link that takes nothing.
type full struct{ tried int }

func (f *full) Write([]byte) (int, error) { f.tried++; return 0, nil }

func (f *full) Close() {}

// A connection that is full is not tried again for each event, but when it has room, and
// when its time is over.
func TestFullSocketIsTriedWhenItHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDriver(t, nil)
		here, there := net.Pipe()
		defer there.Close()
		go io.Copy(io.Discard, there)
		rw := bufio.NewReadWriter(bufio.NewReader(here), bufio.NewWriter(here))
		r := httptest.NewRequest("GET", "/", nil)
		s := d.newSocket(httptest.NewRecorder(), r)
		var err error
		if s.ws, err = wsconn.Accept(here, rw, r, nil, wsconn.Options{WriteTime: time.Minute, Patience: time.Minute}); err != nil {
			t.Fatal(err)
		}
		link := new(full)
		s.task, s.link, s.sent, s.pingAt = d.node.Shards.NewTask(s), link, new(driver.Share), time.Now().Add(time.Hour)
		if err := s.ws.Share(&s.out, link, nil, s.task.Wake); err != nil {
			t.Fatal(err)
		}
		say := func(want int, what string) {
			t.Helper()
			if err := s.say(); err != nil && what != "late" {
				t.Fatal(err)
			}
			if link.tried != want {
				t.Errorf("%s: tried %d times, want %d", what, link.tried, want)
			}
		}
		s.session.Do(func() { s.session.Answer(wire.Frame{Event: "ok"}) })
		say(1, "a message")
		for range 3 {
			say(1, "an event")
		}
		s.Ready(poll.Writable)
		say(2, "room")
		say(2, "no room again")
		s.drop()
		say(3, "dropped")
		time.Sleep(2 * time.Minute)
		say(4, "late")
	})
}

// A query says as it does when it is parsed whether the client authenticates later.
func TestIsLate(t *testing.T) {
	for _, query := range []string{
		"", "auth=hello", "auth=hello&x=1", "x=1&auth=hello", "auth=hello&auth=x", "auth=x&auth=hello", "%61uth=hello", "a%75th=hell%6f",
		"auth=Hello", "Auth=hello", "auth", "auth=", "xauth=hello", "x=auth", "auth=%", "%&auth=hello", "auth;hello", "ch=room%3A1",
	} {
		r := http.Request{URL: &url.URL{RawQuery: query}}
		if got, want := isLate(query), r.URL.Query().Get("auth") == "hello"; got != want {
			t.Errorf("%q: %v", query, got)
		}
	}
}
