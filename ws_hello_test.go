package realtime_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func TestWSHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for _, c := range []struct {
			offered []string
			chosen  string
		}{
			{nil, ""},
			{[]string{wire.Subprotocol}, wire.Subprotocol},
			{[]string{"a, " + wire.Subprotocol + ",b"}, wire.Subprotocol},
			{[]string{"a", wire.Subprotocol}, wire.Subprotocol},
		} {
			ask := get("/realtime", upgrade...)
			for _, p := range c.offered {
				ask.header.Add("Sec-WebSocket-Protocol", p)
			}
			resp := h.do(t.Context(), ask)
			if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != c.chosen {
				t.Errorf("offered %q: %s, %q", c.offered, resp.Status, resp.Header.Get("Sec-WebSocket-Protocol"))
			}
			resp.Body.Close()
		}
		ask := get("/realtime", upgrade...)
		ask.header.Add("Sec-WebSocket-Protocol", "graphql-ws")
		if status, f := h.refused(ask); status != 400 || f.Code != "bad_request" {
			t.Errorf("foreign subprotocol: %d %+v", status, f)
		}
	})
}

func TestWSHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Channels: 7}})
		h.publish("room", "before")
		synctest.Wait()
		s := h.dial(get("/realtime", "Authorization", "Bearer ada"))
		for _, op := range []string{"ping", "subscribe", "publish", "nonsense"} {
			if o := s.call(`"op":"` + op + `","channel":"room","data":1`); o.Code != "hello_required" || *o.Retry {
				t.Errorf("%s before hello: %s", op, o.raw)
			}
		}
		if o := s.call(`"op":"hello","cid":"short"`); o.Code != "bad_request" || !strings.Contains(o.Message, "16 to 64") {
			t.Errorf("hello with a bad client id: %s", o.raw)
		}
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		o := s.next()
		limits := map[string]int{"message": 64 << 10, "channels": 7, "metadata": 1 << 10, "rate": 30, "burst": 60}
		if o.Event != "hello" || o.Src != wire.Tag(tab1) || o.UserID != "ada" || o.Cursor != string(h.Cursor()) ||
			fmt.Sprint(o.Limits) != fmt.Sprint(limits) {
			t.Errorf("hello: %s", o.raw)
		}
		if o := s.call(`"op":"hello","cid":"` + tab1 + `"`); o.Code != "bad_request" {
			t.Errorf("second hello: %s", o.raw)
		}
		s.nothing()
	})
}

func TestWSHelloTimeout(t *testing.T) {
	for _, path := range []string{"/realtime", "/realtime?auth=hello"} {
		bubble(t, path, func(t *testing.T) {
			h := start(t, open(), nil)
			began := time.Now()
			s := h.dial(get(path))
			time.Sleep(9 * time.Second)
			if o := s.call(`"op":"ping"`); o.Code != "hello_required" {
				t.Errorf("%s", o.raw)
			}
			if code, _ := s.closed(); code != 4408 || time.Since(began) != 10*time.Second {
				t.Errorf("closed with %d after %v", code, time.Since(began))
			}
		})
	}
}

// The time for the hello is the client's. What the policy takes for it is not part of that.
func TestWSHelloTimeoutOfThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		authenticate := p.Authenticate
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			time.Sleep(4 * time.Second)
			return authenticate(r)
		}
		h := start(t, p, nil)
		s := h.dial(get("/realtime?auth=hello"))
		time.Sleep(9 * time.Second)
		s.send(`{"op":"hello","cid":"` + tab1 + `","token":"ada"}`)
		if o := s.next(); o.Event != "hello" || o.UserID != "ada" {
			t.Errorf("told %s", o.raw)
		}
		time.Sleep(time.Minute)
		s.ok(subscribe("room"))
	})
}

func TestWSLateAuthentication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for _, c := range []struct {
			path, header, token string
			user                string
			code                string
			retry               bool
			closed              int
		}{
			{path: "/realtime?auth=hello", token: "ada", user: "ada"},
			{path: "/realtime?auth=hello", header: "bob", user: "bob"},
			{path: "/realtime?auth=hello", header: "bob", token: "ada", user: "ada"},
			{path: "/realtime", header: "bob", token: "ada", user: "ada"},
			{path: "/realtime?auth=hello", token: `ada\r\n`, user: "ada"},
			{path: "/realtime?auth=hello", token: "bad", code: "unauthorized", closed: 4401},
			{path: "/realtime?auth=hello", token: "expired", code: "expired", closed: 4401},
			{path: "/realtime?auth=hello", header: "expired", code: "expired", closed: 4401},
			{path: "/realtime?auth=hello", token: "later", code: "unavailable", retry: true, closed: 4503},
			{path: "/realtime", header: "bob", token: "bad", code: "unauthorized", closed: 4401},
		} {
			name := fmt.Sprintf("%s header %q token %q", c.path, c.header, c.token)
			s := h.dial(get(c.path, "Authorization", "Bearer "+c.header))
			hello := `"op":"hello","cid":"` + tab1 + `"`
			if c.token != "" {
				hello += `,"token":"` + c.token + `"`
			}
			s.ask(hello)
			o := s.next()
			if c.closed == 0 {
				if o.Event != "hello" || o.UserID != c.user {
					t.Errorf("%s: %s", name, o.raw)
				}
				continue
			}
			code, last := s.closed()
			if o.Code != c.code || *o.Retry != c.retry || o.Ref == nil || code != c.closed {
				t.Errorf("%s: %s, closed with %d", name, o.raw, code)
			}
			if len(last) != 1 || last[0].Event != "bye" || last[0].RetryMs == nil || (*last[0].RetryMs > 0) != c.retry {
				t.Errorf("%s: last %+v", name, last)
			}
		}
	})
}

// A connection that has ended is not kept in memory, however it ended. The
// sockets are real, since the two ends of one in memory keep each other.
func TestWSConnectionsAreFreed(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*realtime.Realtime, *websocket.Conn){
		"closed":  func(_ *realtime.Realtime, ws *websocket.Conn) { ws.Close(websocket.StatusNormalClosure, "") },
		"broken":  func(_ *realtime.Realtime, ws *websocket.Conn) { ws.CloseNow() },
		"revoked": func(rt *realtime.Realtime, ws *websocket.Conn) { go rt.Revoke(t.Context(), "ada"); readAll(ws) },
		"violation": func(_ *realtime.Realtime, ws *websocket.Conn) {
			ws.Write(t.Context(), websocket.MessageBinary, nil)
			readAll(ws)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rt, err := realtime.New(open(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close(t.Context())
			freed := make(chan struct{})
			srv := httptest.NewUnstartedServer(rt.Handler())
			srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
				runtime.AddCleanup(c.(*net.TCPConn), func(freed chan struct{}) { close(freed) }, freed)
				return ctx
			}
			srv.Start()
			defer srv.Close()
			ws, _, err := websocket.Dial(t.Context(), srv.URL+"/realtime", &websocket.DialOptions{
				HTTPHeader: http.Header{"Authorization": {"Bearer ada"}}, Subprotocols: []string{"maravilla.realtime.v1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			end(rt, ws)
			if !pace.Poll(patience, 20*time.Millisecond, func() bool {
				runtime.GC()
				select {
				case <-freed:
					return true
				default:
					return false
				}
			}) {
				t.Fatal("the connection is still in memory")
			}
		})
	}
}

func readAll(ws *websocket.Conn) {
	for {
		if _, _, err := ws.Read(context.Background()); err != nil {
			return
		}
	}
}

// A client may go while its new rights are being checked, and its writer then never comes
// to what the check has for it: the connection ends all the same.
func TestGoneWhileRenewed(t *testing.T) {
	for _, hijack := range bothWays {
		bubble(t, fmt.Sprint(hijack), func(t *testing.T) {
			h := start(t, open(), &realtime.Options{Hijack: hijack})
			s := h.dialStalled(get("/realtime", "Authorization", "Bearer ada")) // which reads nothing
			s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
			s.send("{" + renew("ada") + "}")
			synctest.Wait()
			if stats := h.Stats().WebSocket; stats.Writing != 1 {
				t.Errorf("%d writers wait", stats.Writing)
			}
			time.Sleep(conns.KickTimeout / 2)
			s.net.Close()
			time.Sleep(time.Minute)
			if n := len(slices.Collect(h.Connections())); n > 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}
