package realtime_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
)

// socket is an open WebSocket.
type socket struct {
	incoming[object]
	ws    *websocket.Conn
	net   net.Conn // beneath ws
	hello object
	ref   int64
}

// object is anything a server sends.
type object struct {
	Event, Channel, State, Reason, Src, UserID, Code, Message, Cursor, From, ID string

	Ref     *int64
	Retry   *bool
	RetryMs *int64

	ExpiresIn *int64

	TS       int64
	Limits   map[string]int
	Members  []realtime.Member
	Part     int  // of a roster
	More     bool // parts of it follow
	Data     json.RawMessage
	Metadata json.RawMessage
	raw      string
}

func (o object) isPing() bool { return o.Event == "ping" }

func (o object) text() string { return "object " + o.raw }

// socket opens a WebSocket and greets.
func (h *host) socket(r request) *socket {
	h.t.Helper()
	s := h.dial(r)
	s.greet()
	return s
}

// greet says hello.
func (s *socket) greet() {
	s.t.Helper()
	s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
	if s.hello = s.next(); s.hello.Event != "hello" {
		s.t.Fatalf("answer to hello: %s", s.hello.raw)
	}
}

// dial opens a WebSocket that does not greet.
func (h *host) dial(r request) *socket {
	h.t.Helper()
	s := h.dialStalled(r)
	s.pump()
	return s
}

// dialStalled opens a WebSocket that does not read until pump is called.
func (h *host) dialStalled(r request) *socket {
	h.t.Helper()
	return h.dialOver(h.listener.Dial, r)
}

// dialOver is dialStalled over a network.
func (h *host) dialOver(dial func(ctx context.Context, network, addr string) (net.Conn, error), r request) *socket {
	h.t.Helper()
	s := &socket{incoming: newIncoming[object](h.t)}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		s.net = conn
		return conn, err
	}}
	ws, resp, err := websocket.Dial(context.Background(), "ws://host.test"+r.path, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: r.header, Subprotocols: []string{"maravilla.realtime.v1"},
	})
	if err != nil {
		if resp != nil {
			body, _ := io.ReadAll(resp.Body)
			h.t.Fatalf("%v: %s", err, body)
		}
		h.t.Fatal(err)
	}
	ws.SetReadLimit(8 << 20)
	s.ws = ws
	h.t.Cleanup(func() { s.net.Close(); ws.CloseNow() })
	return s
}

// pump reads as fast as it can.
func (s *socket) pump() { s.drip(0) }

// drip reads one message at a time, with a pause after each.
func (s *socket) drip(pause time.Duration) {
	go func() {
		defer s.box.close()
		for {
			typ, msg, err := s.ws.Read(context.Background())
			if err != nil {
				s.err = err
				return
			}
			if typ != websocket.MessageText {
				s.t.Errorf("a frame of type %v", typ)
			}
			for line := range strings.SplitSeq(string(msg), "\n") {
				o := object{raw: line}
				if err := json.Unmarshal([]byte(line), &o); err != nil {
					s.t.Errorf("object %.1000q: %v", line, err)
				}
				s.box.put(o)
			}
			time.Sleep(pause)
		}
	}()
}

func (s *socket) send(frame string) {
	s.t.Helper()
	if err := s.ws.Write(context.Background(), websocket.MessageText, []byte(frame)); err != nil {
		s.t.Fatalf("send %.100s: %v", frame, err)
	}
}

// ask sends an operation, given without its braces and ref, and returns its ref.
func (s *socket) ask(op string) int64 {
	s.t.Helper()
	s.ref++
	b, _ := json.Marshal(s.ref)
	s.send(`{"ref":` + string(b) + `,` + op + `}`)
	return s.ref
}

// call sends an operation and returns the next object, which has to be its
// answer.
func (s *socket) call(op string) object {
	s.t.Helper()
	ref := s.ask(op)
	o := s.next()
	if o.Ref == nil || *o.Ref != ref {
		s.t.Fatalf("the answer to %s is %s", op, o.raw)
	}
	return o
}

// ok sends operations that have to succeed.
func (s *socket) ok(ops ...string) {
	s.t.Helper()
	for _, op := range ops {
		if o := s.call(op); o.Event != "ok" && o.Event != "subscribed" {
			s.t.Fatalf("the answer to %s is %s", op, o.raw)
		}
	}
}

// answer returns what answers an operation, whatever comes before it.
func (s *socket) answer(ref int64) object {
	s.t.Helper()
	for {
		if o := s.next(); o.Ref != nil && *o.Ref == ref {
			return o
		}
	}
}

// want reads one object of the event.
func (s *socket) want(event string) object {
	s.t.Helper()
	o := s.next()
	if o.Event != event {
		s.t.Fatalf("got %s, want %s", o.raw, event)
	}
	return o
}

// data reads n messages and returns their data.
func (s *socket) data(n int) string {
	s.t.Helper()
	var list []string
	for range n {
		list = append(list, string(s.want("message").Data))
	}
	return strings.Join(list, " ")
}

// closed waits for the end, and returns the close code, -1 if there is none, and
// the last objects.
func (s *socket) closed() (code int, last []object) {
	s.t.Helper()
	for {
		o, ok := s.some(time.Minute)
		if !ok {
			return int(websocket.CloseStatus(s.err)), last
		}
		last = append(last, o)
	}
}

// drop breaks the connection without a word.
func (s *socket) drop() {
	s.net.Close()
	s.box.end()
}

// leave closes the connection in an orderly way.
func (s *socket) leave() {
	s.ws.Close(websocket.StatusNormalClosure, "")
	s.box.end()
}
