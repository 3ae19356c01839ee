package realtime

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/grant"
	"github.com/maravilla-realtime/realtime/internal/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/memnet"
	"github.com/maravilla-realtime/realtime/internal/poll"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
)

// An idle connection does not pay for the burst that it had.
func TestIdleConnectionsReleaseTheirBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }
		r := ring.New(ring.Limits{Records: 1000, Bytes: 1 << 20, Age: time.Hour}, at(0))
		rt := &Realtime{ring: r, log: slog.New(slog.DiscardHandler), opts: (*Options)(nil).withDefaults()}
		policy := AllowAll()
		see := view{policy: &policy, id: new(Identity), grants: []grant.Grant{GrantAll("realtime").WithData().of}}

		l := memnet.Listen()
		go func() {
			client, _ := l.Dial(t.Context(), "", "")
			_, _ = io.Copy(io.Discard, client)
		}()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		ws, err := wsconn.Accept(conn, rw, httptest.NewRequest("GET", "/", nil), nil, wsconn.Options{WriteTime: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		s := &socket{rt: rt, ws: ws, sent: new(sentTally)}
		s.session = session.NewChannels(r, func() {}, s, &see, 1)
		s.session.Do(func() { s.session.Subscribe(wire.Op{Channel: "room"}, session.Rewind{}, 1) })

		out, missing := httpwriter.New(deaf{httptest.NewRecorder()}, time.Now())
		if missing != nil {
			t.Fatal(missing)
		}
		st := &stream{rt: rt, ctx: t.Context(), session: session.NewStream(r, func() {}), w: out, sent: new(sentTally)}
		st.session.Do(func() {
			st.session.Begin(nil, &see, []ring.Topic{ring.Domain("realtime")}, session.Hello{Domains: []string{"realtime"}})
		})

		for range 2 {
			for more := true; more; {
				if more, err = s.fill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := st.deliver(); err != nil {
				t.Fatal(err)
			}
			for range uint64(500) {
				r.Put([]*backend.Logged{{Pos: r.Head().Next(), Event: backend.Event{
					Resource: "realtime", Type: "realtime.message", Channel: "room", Data: []byte(`"` + strings.Repeat("x", 20) + `"`), UnixMilli: time.Now().UnixMilli(),
				}}})
			}
		}
		if s.buf != nil || st.buf != nil {
			t.Error("an idle connection keeps a buffer")
		}
	})
}

// Which WebSockets shards drive.
func TestTakesSocket(t *testing.T) {
	see := Policy{See: func(Identity, RenEvent) bool { return true }}
	linux := runtime.GOOS == "linux"
	type way struct {
		hijack Hijack
		policy Policy
	}
	ways := []way{
		{HijackDefault, Policy{}}, {HijackDefault, see}, {HijackNever, Policy{}}, {HijackPlain, Policy{}}, {HijackPlain, see}, {HijackAlways, see},
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
			return w, r.WithContext(context.WithValue(r.Context(), clientKey{}, "tab"))
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
				rt := &Realtime{policy: way.policy, opts: Options{Hijack: way.hijack}}
				if is := rt.takesSocket(w, r); is != c.taken[i] {
					t.Errorf("%s, %d, see %v: %v", c.name, way.hijack, way.policy.See != nil, is)
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
		spoiled := kept.again(t.Context())
		clear(spoiled.Header)
		clear(spoiled.Form)
		spoiled.URL.Path = "/"
		spoiled.SetPathValue("tenant", "another")
		got = kept.again(context.Background())
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

// deaf has what streams need, and forgets it.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) SetWriteDeadline(time.Time) error { return nil }

// full is a link that takes nothing.
type full struct{ tried int }

func (f *full) Write([]byte) (int, error) { f.tried++; return 0, nil }

func (f *full) Close() {}

// A connection that is full is not tried again for each event, but when it has room, and
// when its time is over.
func TestFullSocketIsTriedWhenItHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New(AllowAll(), &Options{Logger: slog.New(slog.DiscardHandler), WriteTimeout: time.Minute, Heartbeat: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close(t.Context())
		here, there := net.Pipe()
		defer there.Close()
		go io.Copy(io.Discard, there)
		rw := bufio.NewReadWriter(bufio.NewReader(here), bufio.NewWriter(here))
		r := httptest.NewRequest("GET", "/", nil)
		s := h.newSocket(httptest.NewRecorder(), r)
		if s.ws, err = wsconn.Accept(here, rw, r, nil, wsconn.Options{WriteTime: time.Minute, Patience: time.Minute}); err != nil {
			t.Fatal(err)
		}
		link := new(full)
		s.task, s.link, s.sent, s.pingAt = h.shards.NewTask(s), link, new(sentTally), time.Now().Add(time.Hour)
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
