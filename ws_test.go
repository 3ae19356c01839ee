package realtime_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/pace"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// noLimits lets a test send as fast as it likes.
// -full runs what proves a promise with the figures it is made with, which takes
// minutes.
var full = flag.Bool("full", false, "prove promises with their full figures")

func figure(short, promised int) int {
	if *full {
		return promised
	}
	return short
}

var noLimits = &realtime.Options{Limits: realtime.Limits{Rate: 1 << 30, Burst: 1 << 30}}

func subscribe(channel string) string { return `"op":"subscribe","channel":"` + channel + `"` }

func since(channel, cursor string) string { return subscribe(channel) + `,"since":"` + cursor + `"` }

func publish(channel, data string) string {
	return `"op":"publish","channel":"` + channel + `","data":` + data
}

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

func TestWSSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 10}})
		evicted := string(h.Cursor())
		for i := range 12 {
			h.publish("room", i)
			synctest.Wait()
		}
		cursor := string(h.Cursor())
		h.publish("room", "missed")
		h.publish("other", "not followed")
		synctest.Wait()
		head := string(h.Cursor())
		for _, c := range []struct{ name, since, state, reason, cursor, missed string }{
			{"fresh", "", "fresh", "", head, ""},
			{"resumed", cursor, "resumed", "", cursor, `"missed"`},
			{"at the head", head, "resumed", "", head, ""},
			{"evicted", evicted, "reset", "evicted", head, ""},
			{"garbage", "garbage", "reset", "unknown", head, ""},
			{"epoch", "1.1", "reset", "epoch", head, ""},
			{"long", strings.Repeat("z", 10_000), "reset", "unknown", head, ""},
			{"NUL", `\u0000`, "reset", "unknown", head, ""},
		} {
			s := h.socket(get("/realtime"))
			o := s.call(since("room", c.since))
			if o.Event != "subscribed" || o.Channel != "room" || o.State != c.state || o.Reason != c.reason || o.Cursor != c.cursor {
				t.Errorf("%s: %s", c.name, o.raw)
			}
			if c.missed != "" {
				if got := s.data(1); got != c.missed {
					t.Errorf("%s: missed %s", c.name, got)
				}
			}
			s.nothing()
		}
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		h.publish("room", map[string]any{"type": "message", "text": "line\nline\u2028 \x00<"}, realtime.AsUser("bob"), realtime.FromClient(tab2))
		o := s.want("message")
		if o.Channel != "room" || o.UserID != "bob" || o.From != wire.Tag(tab2) || o.TS != time.Now().UnixMilli() || o.ID != string(h.Cursor()) ||
			string(o.Data) != `{"text":"line\nline\u2028 \u0000\u003c","type":"message"}` {
			t.Errorf("%s", o.raw)
		}
	})
}

func TestWSSubscribeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		before := string(h.Cursor())
		h.publish("room", "old")
		h.join("room", "ada", nil)
		synctest.Wait()
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		if o := s.call(since("room", before)); o.State != "resumed" || o.Cursor != "" {
			t.Errorf("again: %s", o.raw)
		}
		s.nothing() // it moves nothing
		h.join("room", "bob", nil)
		s.nothing()
		s.ok(subscribe("room") + `,"presence":true`)
		if o := s.want("presence.state"); len(o.Members) != 2 {
			t.Errorf("%s", o.raw)
		}
		h.join("room", "eve", nil)
		s.want("presence.join")
		s.ok(subscribe("room"))
		h.join("room", "joe", nil)
		h.publish("room", "new")
		if got := s.data(1); got != `"new"` {
			t.Error(got)
		}
		s.nothing()
	})
}

// The state of presence comes when a subscriber cannot know it otherwise.
func TestWSPresenceState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		cursor := string(h.Cursor())
		h.join("room", "ada", map[string]int{"n": 1})
		synctest.Wait()
		joined := time.Now()
		time.Sleep(time.Second)
		for _, c := range []struct {
			name, op string
			state    bool
			events   string
		}{
			{"without presence", subscribe("room"), false, ""},
			{"fresh", subscribe("room") + `,"presence":true`, true, ""},
			{"resumed", since("room", cursor) + `,"presence":true`, false, "presence.join"},
			{"reset", since("room", "garbage") + `,"presence":true`, true, ""},
		} {
			s := h.socket(get("/realtime"))
			s.ok(c.op)
			if c.state {
				o := s.want("presence.state")
				if o.Channel != "room" || o.Cursor == "" || len(o.Members) != 1 || o.Members[0].UserID != "ada" ||
					string(o.Members[0].Metadata) != `{"n":1}` || !o.Members[0].LastSeen.Equal(joined) {
					t.Errorf("%s: %s", c.name, o.raw)
				}
			}
			var events []string
			for _, o := range s.rest() {
				events = append(events, o.Event)
			}
			if got := strings.Join(events, " "); got != c.events {
				t.Errorf("%s: then %q", c.name, got)
			}
			if c.name == "resumed" { // a client that has no roster asks for one
				s.ok(c.op)
				if got := s.rest(); len(got) != 1 || got[0].Event != "presence.state" || len(got[0].Members) != 1 {
					t.Errorf("subscribed again: %+v", got)
				}
			}
		}
		s := h.socket(get("/realtime"))
		s.ok(subscribe("empty") + `,"presence":true`)
		if o := s.want("presence.state"); !strings.Contains(o.raw, `"members":[]`) {
			t.Errorf("%s", o.raw)
		}
	})
}

// The first roster of a connection has the cursor of where its events begin,
// also where the server reads the operations before it has begun to write.
func TestWSPresenceStateCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		h.publish("elsewhere", 1)
		for range 100 { // it is a matter of luck
			s := h.dial(get("/realtime"))
			s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
			s.send(`{"op":"subscribe","channel":"room","presence":true,"ref":1}`)
			want := s.want("hello").Cursor
			s.want("subscribed")
			if o := s.want("presence.state"); o.Cursor != want {
				t.Fatalf("roster at %s, want %s", o.Cursor, want)
			}
			s.ws.CloseNow()
		}
	})
}

// A connection that has ended is not kept in memory, however it ended. The
// sockets are real, since the two ends of one in memory keep each other.
func TestWSConnectionsAreFreed(t *testing.T) {
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
			if !pace.Poll(patience, time.Millisecond, func() bool {
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

// Nothing of a channel comes after the answer to unsubscribe, even while others
// publish.
func TestWSUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), noLimits)
		s := h.socket(get("/realtime"))
		var stop atomic.Bool
		var publisher sync.WaitGroup
		publisher.Go(func() {
			for i := 0; !stop.Load(); i++ {
				h.publish("room", i)
			}
		})
		for range 100 {
			s.ask(subscribe("room"))
			ref := s.ask(`"op":"unsubscribe","channel":"room"`)
			s.answer(ref)
			if o := s.call(`"op":"ping"`); o.Event != "ok" {
				t.Fatalf("after unsubscribe: %s", o.raw)
			}
		}
		stop.Store(true)
		publisher.Wait()
		s.nothing()
		s.ok(`"op":"unsubscribe","channel":"never subscribed"`)
	})
}

func TestWSPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s, other := h.socket(get("/realtime", "Authorization", "Bearer ada")), h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		other.ok(subscribe("room"))
		ref := s.ask(publish("room", ` { "text" : "hi\n" } `))
		if o := s.answer(ref); o.Event != "ok" {
			t.Errorf("%s", o.raw)
		}
		o := other.want("message")
		if string(o.Data) != `{"text":"hi\n"}` || o.From != wire.Tag(tab1) || o.UserID != "ada" || o.ID == "" || o.TS == 0 {
			t.Errorf("%s", o.raw)
		}
		for _, data := range []string{"null", "0", `""`, "[]", "{}", "false", `{"a":1,"a":2}`} {
			other.ok(`"op":"ping"`)
			s.answer(s.ask(publish("room", data)))
			if got := other.data(1); got != data {
				t.Errorf("published %s, got %s", data, got)
			}
		}
		if o := other.call(`"op":"publish","channel":"room"`); o.Code != "bad_request" {
			t.Errorf("without data: %s", o.raw)
		}
	})
}

func TestWSOwnMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		s.ask(publish("room", "1"))
		s.ask(publish("room", `2,"cid":"`+tab2+`"`))
		from := map[string]string{}
		for _, o := range s.rest() {
			if o.Event == "message" {
				from[string(o.Data)] = o.From
			}
		}
		if from["1"] != wire.Tag(tab1) || from["2"] != wire.Tag(tab2) {
			t.Errorf("from: %v", from)
		}
	})
}

// A client need not wait for the answer to its subscribe before it publishes.
func TestWSOwnMessagesFromTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := open()
		policy.See = func(_ realtime.Identity, ev realtime.RenEvent) bool {
			if ev.Channel == "busy" {
				time.Sleep(time.Millisecond) // so that the writer lags
			}
			return true
		}
		h := start(t, policy, nil)
		s := h.socket(get("/realtime"))
		s.ok(`"op":"subscribe","channel":"busy"`)
		h.publish("busy", 1)
		synctest.Wait()
		subscribe := s.ask(`"op":"subscribe","channel":"room"`)
		publish := s.ask(`"op":"publish","channel":"room","data":2`)
		s.want("message")
		if o := s.answer(subscribe); o.Event != "subscribed" {
			t.Fatalf("answer to subscribe: %s", o.raw)
		}
		var got []string
		for range 2 {
			o := s.next()
			if got = append(got, o.Event); o.Event == "ok" && *o.Ref != publish {
				t.Errorf("unexpected %s", o.raw)
			}
		}
		if slices.Sort(got); !slices.Equal(got, []string{"message", "ok"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestWSPublishIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		a, b := h.socket(get("/realtime", "Authorization", "Bearer ada")), h.socket(get("/realtime", "Authorization", "Bearer ada"))
		reader := h.socket(get("/realtime"))
		reader.ok(subscribe("room"))
		a.ok(publish("room", `1,"id":"p1"`), publish("room", `1,"id":"p1"`), publish("room", `2,"id":"p2"`))
		b.ok(publish("room", `1,"id":"p1"`)) // the same client came back
		a.ok(publish("room", `3,"id":"p1","cid":"`+tab2+`"`), publish("room", `4,"id":"`+strings.Repeat("x", 64)+`"`))
		if o := a.call(publish("room", `5,"id":"`+strings.Repeat("x", 65)+`"`)); o.Code != "too_large" {
			t.Errorf("long id: %s", o.raw)
		}
		if got := reader.data(4); got != "1 2 3 4" {
			t.Error(got)
		}
		time.Sleep(2*time.Minute + time.Second)
		a.ok(publish("room", `6,"id":"p1"`))
		if got := reader.data(1); got != "6" {
			t.Error(got)
		}
		reader.nothing()
	})
}

func TestWSMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s, other := h.socket(get("/realtime", "Authorization", "Bearer ada")), h.socket(get("/realtime"))
		other.ok(subscribe("room") + `,"presence":true`)
		other.want("presence.state")
		for _, c := range []struct{ op, event, metadata, reason string }{
			{`"op":"join","channel":"room","metadata":{ "n": 1 }`, "presence.join", `{"n":1}`, ""},
			{`"op":"join","channel":"room","metadata":{"n":1},"userId":"ada"`, "", "", ""},
			{`"op":"update","channel":"room","metadata":{"n":2}`, "presence.update", `{"n":2}`, ""},
			{`"op":"update","channel":"room","metadata":{"n":2}`, "", "", ""},
			{publish("elsewhere", "1"), "", "", ""},
			{`"op":"leave","channel":"room"`, "presence.leave", `{"n":2}`, "left"},
			{`"op":"leave","channel":"room"`, "", "", ""},
		} {
			s.ok(c.op)
			if c.event == "" {
				other.nothing()
				continue
			}
			o := other.want(c.event)
			if o.Channel != "room" || o.UserID != "ada" || string(o.Metadata) != c.metadata || o.Reason != c.reason ||
				o.From != wire.Tag(tab1) || o.ID == "" || o.TS != time.Now().UnixMilli() {
				t.Errorf("%s: %s", c.op, o.raw)
			}
		}
		if o := s.call(`"op":"update","channel":"room","metadata":1`); o.Code != "not_joined" {
			t.Errorf("update without join: %s", o.raw)
		}
		s.nothing() // it did not subscribe
	})
}

func TestWSPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		began := time.Now()
		s := h.socket(get("/realtime"))
		s.ok(`"op":"ping"`)
		s.ok(subscribe("room"))
		for i := range 4 {
			least := string(h.Cursor())
			h.publish("elsewhere", i)
			o, _ := s.any(time.Minute)
			if passed := time.Since(began); o.Event != "ping" || passed != time.Duration(i+1)*25*time.Second || o.TS != time.Now().UnixMilli() {
				t.Fatalf("after %v: %s", passed, o.raw)
			}
			if i > 0 && o.Cursor < least {
				t.Errorf("ping %s, want its cursor to move on to %s", o.raw, least)
			}
		}
	})
}

// A peer that reads, but does not answer, is gone within 35 s, and its members
// after the grace.
func TestWSDeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		s.ok(`"op":"join","channel":"room"`)
		synctest.Wait() // or that ada has joined is perhaps news to who subscribes
		watch := h.socket(get("/realtime"))
		watch.ok(subscribe("room") + `,"presence":true`)
		watch.want("presence.state")

		dead := h.dialStalled(get("/realtime", "Authorization", "Bearer bob"))
		dead.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		dead.send(`{"op":"join","channel":"room"}`)
		gone := make(chan time.Time, 1)
		began := time.Now()
		go func() {
			_, _ = io.Copy(io.Discard, dead.net)
			gone <- time.Now()
		}()
		watch.want("presence.join")
		dropped := (<-gone).Sub(began)
		if dropped > 35*time.Second {
			t.Errorf("dropped after %v, want 35 s at most", dropped)
		}
		for {
			o, _ := watch.any(time.Minute)
			if o.Event == "ping" {
				continue
			}
			if left := time.Since(began); o.Event != "presence.leave" || o.UserID != "bob" || o.Reason != "timeout" || left != dropped+15*time.Second {
				t.Errorf("after %v: %s", left, o.raw)
			}
			break
		}
		time.Sleep(time.Minute)
		watch.nothing() // ada, who answers pings, is still there
	})
}

func TestWSChannelLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Rate: 1 << 20, Burst: 1 << 20}})
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		for i := range 128 {
			s.ok(subscribe(fmt.Sprint("c", i)), `"op":"join","channel":"c`+fmt.Sprint(i)+`"`)
		}
		if o := s.call(subscribe("one too many")); o.Code != "channel_limit" {
			t.Errorf("%s", o.raw)
		}
		if o := s.call(`"op":"join","channel":"one too many"`); o.Code != "channel_limit" {
			t.Errorf("%s", o.raw)
		}
		s.ok(subscribe("c1"), `"op":"unsubscribe","channel":"c1"`, subscribe("instead"))
		s.ok(`"op":"join","channel":"c1"`, `"op":"leave","channel":"c1"`, `"op":"join","channel":"instead"`)
	})
}

func TestWSRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		allowed := func() (n int) {
			for {
				if o := s.call(`"op":"ping"`); o.Event != "ok" {
					if o.Code != "rate_limited" || !*o.Retry {
						t.Errorf("%s", o.raw)
					}
					return n
				}
				n++
			}
		}
		if n := allowed(); n != 60 {
			t.Errorf("%d operations at once, want 60", n)
		}
		time.Sleep(time.Second)
		if n := allowed(); n != 30 {
			t.Errorf("%d operations in a second, want 30", n)
		}
		for range 100 { // being too fast is no error
			s.call(`"op":"ping"`)
		}
		time.Sleep(time.Minute)
		s.ok(`"op":"ping"`)
	})
}

func TestWSTooManyErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		for range 30 { // 15 a minute are forgiven
			time.Sleep(4 * time.Second)
			if o := s.call(`"op":"nonsense"`); o.Code != "unknown_op" {
				t.Fatalf("%s", o.raw)
			}
		}
		time.Sleep(2 * time.Minute)
		n := 0
		for ; n < 30; n++ {
			if err := s.ws.Write(t.Context(), websocket.MessageText, []byte("nonsense")); err != nil {
				break
			}
		}
		code, errors := s.closed()
		if code != 1008 || len(errors) < 20 || len(errors) > 21 {
			t.Errorf("closed with %d after %d errors", code, len(errors))
		}
	})
}

// frame is a WebSocket frame as no honest client might send it.
func frame(first byte, masked bool, payload []byte) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, payload...)
}

func TestWSViolations(t *testing.T) {
	const fin, cont, text, binaryOp, pingOp = 0x80, 0, 1, 2, 9
	big := bytes.Repeat([]byte("x"), 64<<10+1)
	for _, c := range []struct {
		name  string
		raw   []byte
		code  int
		limit time.Duration
	}{
		{"binary", frame(fin|binaryOp, true, []byte("{}")), 1003, 0},
		{"invalid UTF-8", frame(fin|text, true, []byte(`{"op":"ping","x":"`+"\xff"+`"}`)), 1007, 0},
		{"half a character", frame(fin|text, true, []byte("\xe2\x82")), 1007, 0},
		{"too large", frame(fin|text, true, big), 1009, 0},
		{"too large in fragments", append(frame(text, true, big[:40<<10]), frame(fin|cont, true, big[:40<<10])...), 1009, 0},
		{"unmasked", frame(fin|text, false, []byte(`{"op":"ping"}`)), 1002, 0},
		{"reserved bits", frame(fin|0x40|text, true, []byte(`{}`)), 1002, 0},
		{"reserved opcode", frame(fin|3, true, nil), 1002, 0},
		{"continuation of nothing", frame(fin|cont, true, []byte(`{}`)), 1002, 0},
		{"message within a message", append(frame(text, true, []byte("{")), frame(fin|text, true, []byte("}"))...), 1002, 0},
		{"fragmented ping", frame(pingOp, true, nil), 1002, 0},
		{"long ping", frame(fin|pingOp, true, bytes.Repeat([]byte("x"), 126)), 1002, 0},
		{"close with half a code", frame(fin|8, true, []byte{3}), 1002, 0},
		{"incomplete", frame(text, true, []byte(`{"op":`)), 1008, 10 * time.Second},
		{"incomplete payload", frame(fin|text, true, []byte(`{"op":"ping"}`))[:12], 1008, 10 * time.Second},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, open(), nil)
			s, other := h.socket(get("/realtime")), h.socket(get("/realtime"))
			began := time.Now()
			go s.net.Write(c.raw) // the server may stop reading in the middle
			code, last := s.closed()
			if took := time.Since(began); code != c.code || took > c.limit+5*time.Second || took < c.limit || len(last) > 0 {
				t.Errorf("closed with %d after %v, want %d after %v; last %+v", code, took, c.code, c.limit, last)
			}
			other.ok(`"op":"ping"`)
		})
	}
}

// The largest message that is allowed is.
func TestWSMessageLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		op := `{"op":"publish","ref":1,"channel":"room","data":""}`
		s.send(strings.Replace(op, `""`, `"`+strings.Repeat("x", 64<<10-len(op))+`"`, 1))
		if o := s.next(); o.Event != "ok" {
			t.Errorf("%s", o.raw)
		}
	})
}

// Empty fragments never reach a limit of bytes.
func TestWSFragmentFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime"))
		began := time.Now()
		var flood sync.WaitGroup
		defer flood.Wait()
		defer s.net.Close()
		flood.Go(func() {
			_, err := s.net.Write(frame(1, true, nil))
			for err == nil {
				time.Sleep(10 * time.Millisecond)
				_, err = s.net.Write(frame(0, true, nil))
			}
		})
		if code, _ := s.closed(); code != 1008 || time.Since(began) > 16*time.Second {
			t.Errorf("closed with %d after %v", code, time.Since(began))
		}
	})
}

func TestWSExpires(t *testing.T) {
	for _, path := range []string{"/realtime", "/realtime?auth=hello"} {
		bubble(t, path, func(t *testing.T) {
			p := open()
			p.Authenticate = func(*http.Request) (realtime.Identity, error) {
				return realtime.Identity{User: "ada", Expires: time.Now().Add(time.Minute)}, nil
			}
			h := start(t, p, nil)
			began := time.Now()
			s := h.socket(get(path))
			s.ok(subscribe("room"))
			code, last := s.closed()
			if code != 4401 || time.Since(began) != time.Minute || len(last) != 1 || last[0].Event != "bye" || last[0].Reason != "expired" {
				t.Errorf("closed with %d after %v, last %+v", code, time.Since(began), last)
			}
		})
	}
}

func TestWSExpiresWhileCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Authenticate = func(*http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: "ada", Expires: time.Now().Add(10 * time.Second)}, nil
		}
		h := start(t, p, nil)
		cursor := string(h.Cursor())
		for range 4000 {
			h.publish("room", strings.Repeat("x", 900))
		}
		s := h.dialStalled(get("/realtime"))
		began := time.Now()
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		s.send(`{` + since("room", cursor) + `}`)
		buf := make([]byte, 8<<10)
		for {
			time.Sleep(time.Second)
			if _, err := io.ReadFull(s.net, buf); err != nil {
				break
			}
		}
		if life := time.Since(began); life > 60*time.Second {
			t.Errorf("the connection went on for %v with credentials for 10 s", life)
		}
	})
}

func TestWSStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		cursor := string(h.Cursor())
		stalled, healthy := h.dialStalled(get("/realtime")), h.socket(get("/realtime"))
		stalled.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		stalled.send(`{` + subscribe("room") + `}`)
		healthy.ok(subscribe("room"))
		synctest.Wait()
		began := time.Now()
		for i := range 200 {
			h.publish("room", fmt.Sprint(i, strings.Repeat("x", 1000)))
		}
		synctest.Wait()
		if got := len(healthy.rest()); got != 200 || time.Since(began) != 0 {
			t.Errorf("the healthy reader got %d of 200 events after %v", got, time.Since(began))
		}
		time.Sleep(11 * time.Second)
		stalled.pump()
		stalled.objects.end()
		again := h.socket(get("/realtime"))
		if o := again.call(since("room", cursor)); o.State != "resumed" {
			t.Errorf("%s", o.raw)
		}
		if n := len(again.rest()); n != 200 {
			t.Errorf("%d of 200 events after coming back", n)
		}
		healthy.nothing()
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		var sockets []*socket
		var streams []*ren
		for range 20 {
			s := h.socket(get("/realtime"))
			s.ok(subscribe("room"))
			sockets, streams = append(sockets, s), append(streams, h.ren(get("/ren")))
		}
		h.publish("room", "accepted")
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		began := time.Now()
		if err := h.Close(ctx); err != nil || time.Since(began) > time.Second {
			t.Errorf("Close: %v after %v", err, time.Since(began))
		}
		delays := map[int64]bool{}
		check := func(kind, reason, cursor string, retry int64) {
			delays[retry] = true
			if reason != "closing" || cursor == "" || retry < 0 || retry > 8000 {
				t.Errorf("%s: bye %s %q %d", kind, reason, cursor, retry)
			}
		}
		for i, s := range sockets {
			code, last := s.closed()
			if len(last) != 2 || last[0].Event != "message" || last[1].Event != "bye" || code != 1012 {
				t.Fatalf("closed with %d, last %+v", code, last)
			}
			check("WebSocket", last[1].Reason, last[1].Cursor, *last[1].RetryMs)
			if got := streams[i].keys(1); got != `"accepted"` {
				t.Error(got)
			}
			bye := streams[i].next()
			check("REN", bye.Reason, bye.Cursor, bye.RetryMs)
			if bye.Name != "ren.bye" || bye.Retry != time.Duration(bye.RetryMs)*time.Millisecond {
				t.Errorf("%s with retry %v", bye.Raw, bye.Retry)
			}
			streams[i].ended()
		}
		if len(delays) < 20 {
			t.Errorf("40 clients come back after %d different delays", len(delays))
		}
		for _, ask := range []request{get("/ren"), get("/realtime", upgrade...)} {
			if status, f := h.refused(ask); status != 503 || f.Code != "closing" || !*f.Retry {
				t.Errorf("%s: %d %+v", ask.path, status, f)
			}
		}
	})
}

// Clients that do not react cannot make Close wait longer than it may.
func TestCloseDropsTheDeaf(t *testing.T) {
	for _, limit := range []time.Duration{0, 2 * time.Second} {
		bubble(t, limit.String(), func(t *testing.T) {
			h := start(t, open(), nil)
			for range 20 {
				h.renStalled(get("/ren"))
				h.dialStalled(get("/realtime")).send(`{"op":"hello","cid":"` + tab1 + `"}`)
			}
			for range 300 {
				h.publish("room", strings.Repeat("x", 500)) // so that streams are stuck in the middle
			}
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			err := h.Close(ctx)
			if err == nil || time.Since(began) > limit+100*time.Millisecond {
				t.Errorf("Close: %v after %v, want an error after %v", err, time.Since(began), limit)
			}
		})
	}
}

// Close with a context that has ended, while streams are idle, so that each of
// them says goodbye to a client that does not listen.
func TestCloseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for range 50 {
			s := h.renStalled(get("/ren"))
			_, _ = s.resp.Body.Read(make([]byte, 1000)) // hello: the server waits for events now
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := h.Close(ctx); err == nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("Close: %v after %v, want an error at once", err, time.Since(began))
		}
	})
}

// Connections that open while Close drops others.
func TestCloseWhileConnecting(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			h := start(t, open(), nil)
			var dialing sync.WaitGroup
			for range 8 {
				dialing.Go(func() {
					req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://host.test/realtime", nil)
					req.Header = get("", upgrade...).header
					if resp, err := h.http.Do(req); err == nil {
						resp.Body.Close()
					}
				})
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = h.Close(ctx)
			dialing.Wait()
		})
	}
}

// Nothing that is published once Revoke has returned reaches the user, while the
// publisher goes on all the time.
func TestRevoke(t *testing.T) {
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
			var n atomic.Int64
			stop := make(chan struct{})
			var publisher sync.WaitGroup
			publisher.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if i := n.Add(1); i%100 == 0 {
							time.Sleep(time.Millisecond) // or the rest of the test hardly gets a turn
						}
						h.publish("room", n.Load())
					}
				}
			})
			bob.data(120)
			if err := h.Revoke(t.Context(), "ada"); err != nil {
				t.Error(err)
			}
			revoked := n.Load()
			bob.data(50)
			close(stop)
			publisher.Wait()
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

// Promise 3: one order for all.
func TestOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const publishers = 64
		each := figure(20, 10_000)
		opts := *noLimits
		opts.History = realtime.History{Events: 1 << 20, Bytes: 1 << 32} // nobody is outrun
		h := start(t, open(), &opts)
		streams := []*ren{h.ren(get("/ren")), h.ren(get("/ren?s=realtime"))}
		sockets := []*socket{h.socket(get("/realtime")), h.socket(get("/realtime"))}
		for _, s := range sockets {
			s.ok(subscribe("a"), subscribe("b"))
		}
		var writers sync.WaitGroup
		for p := range publishers {
			writers.Go(func() {
				for i := range each {
					channel := "a"
					if (p+i)%2 == 0 {
						channel = "b"
					}
					h.publish(channel, fmt.Sprintf("%d.%d", p, i))
				}
			})
		}
		writers.Wait()
		var orders [][]string
		for _, s := range streams {
			var order []string
			for _, ev := range s.rest() {
				order = append(order, ev.ID+string(ev.Data))
			}
			orders = append(orders, order)
		}
		for _, s := range sockets {
			var order []string
			for _, o := range s.rest() {
				order = append(order, o.ID+string(o.Data))
			}
			orders = append(orders, order)
		}
		for i, order := range orders {
			if len(order) != publishers*each {
				t.Fatalf("subscriber %d got %d events", i, len(order))
			}
			for j := range order {
				if order[j] != orders[0][j] {
					t.Fatalf("subscriber %d got %s where another one got %s", i, order[j], orders[0][j])
				}
			}
		}
		last := map[string]int{}
		for _, o := range orders[0] {
			var data string
			_ = json.Unmarshal([]byte(o[strings.Index(o, `"`):]), &data)
			p, i, _ := strings.Cut(data, ".")
			if n, _ := strconv.Atoi(i); n != last[p] {
				t.Fatalf("publisher %s: %d after %d", p, n, last[p]-1)
			}
			last[p]++
		}
	})
}

// Promise 2: what is published once the client has its `subscribed` or hello
// arrives, and nothing after the first event is missing.
func TestNoHoleAtSubscribe(t *testing.T) {
	const burst = 8
	// race publishes while open runs, which returns what was got, once what was
	// published is known to be all through.
	race := func(t *testing.T, h *host, channel string, open func() (got func() []int)) {
		var started atomic.Int64
		var publisher sync.WaitGroup
		publisher.Go(func() {
			for i := range burst {
				started.Store(int64(i) + 1)
				h.publish(channel, i)
			}
		})
		got := open()
		promised := int(started.Load())
		publisher.Wait()
		list := got()
		for i, n := range list {
			if n != list[0]+i {
				t.Fatalf("got %v", list)
			}
		}
		if n := len(list); n > 0 && list[n-1] != burst-1 || n < burst-promised {
			t.Fatalf("got %v, but all from %d on were promised", list, promised)
		}
	}
	t.Run("WebSocket", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := start(t, open(), noLimits)
			s := h.socket(get("/realtime"))
			for i := range figure(600, 100_000) {
				channel := fmt.Sprint("room:", i)
				race(t, h, channel, func() func() []int {
					s.ok(subscribe(channel))
					return func() (list []int) {
						s.settle(channel, func(o object) {
							n, _ := strconv.Atoi(string(o.Data))
							list = append(list, n)
						})
						return list
					}
				})
			}
		})
	})
	t.Run("REN", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := start(t, open(), nil)
			for range figure(100, 20_000) {
				race(t, h, "room", func() func() []int {
					s := h.ren(get("/ren?s=realtime"))
					return func() (list []int) {
						for _, ev := range s.rest() {
							n, _ := strconv.Atoi(string(ev.Data))
							list = append(list, n)
						}
						s.cut()
						return list
					}
				})
			}
		})
	})
}

// settle calls f with what comes until all is quiet, and unsubscribes.
func (s *socket) settle(channel string, f func(object)) {
	s.t.Helper()
	for _, o := range s.rest() {
		if o.Event != "message" || o.Channel != channel {
			s.t.Errorf("unexpected %s", o.raw)
		}
		f(o)
	}
	s.ok(`"op":"unsubscribe","channel":"` + channel + `"`)
}
