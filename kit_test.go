package realtime_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/sse"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

const (
	tab1 = "browser-0001.tab1"
	tab2 = "browser-0001.tab2"
)

// bubble runs a subtest in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// open is a policy that lets every bearer of a token in, as the user that the
// token names, and everybody else as anonymous. "expired" and "later" are tokens
// that are refused.
func open() realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			switch token := bearer(r); token {
			case "expired":
				return realtime.Identity{}, realtime.ErrExpired
			case "later":
				return realtime.Identity{}, realtime.ErrTemporary
			case "bad":
				return realtime.Identity{}, errors.New("a secret reason")
			default:
				return realtime.Identity{User: token}, nil
			}
		},
		Allow:  func(context.Context, realtime.Identity, realtime.Action) error { return nil },
		Grants: realtime.AllowAll().Grants,
	}
}

func bearer(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// withGrants is open with these grants for all.
func withGrants(grants ...realtime.Grant) realtime.Policy {
	p := open()
	p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return grants, nil }
	return p
}

// hijack is how the connections of all tests are driven that do not say it themselves: the
// same tests are for both ways.
var hijack = flag.Int("hijack", 0, "realtime.Options.Hijack")

// host is a server with a Realtime, reached over a network in memory.
type host struct {
	*realtime.Realtime
	t        testing.TB
	srv      *realtimetest.Server
	logs     logs
	handler  http.Handler // without Attribute
	server   *http.Server
	listener *realtimetest.Network
	http     *http.Client
}

// logs is what a host has logged.
type logs struct{ srv *realtimetest.Server }

func (l logs) String() string { return l.srv.Logs() }

// prepare returns a host that does not serve yet.
func prepare(t testing.TB, policy realtime.Policy, opts *realtime.Options) *host {
	t.Helper()
	var o realtimetest.Options
	if opts != nil {
		o.Realtime = *opts
	}
	if o.Realtime.Hijack == 0 {
		o.Realtime.Hijack = realtime.Hijack(*hijack)
	}
	srv := realtimetest.NewUnstarted(t, policy, &o)
	return &host{
		Realtime: srv.Realtime, t: t, srv: srv, logs: logs{srv}, handler: srv.Realtime.Handler(),
		server: srv.Config, listener: srv.Net, http: srv.HTTPClient(),
	}
}

// start returns a host that serves until the test ends.
func start(t testing.TB, policy realtime.Policy, opts *realtime.Options) *host {
	t.Helper()
	h := prepare(t, policy, opts)
	h.serve()
	return h
}

func (h *host) serve() {
	h.server.Handler = h.handler
	h.srv.Start()
}

func (h *host) publish(channel string, data any, opts ...realtime.EventOption) {
	h.t.Helper()
	if err := h.Publish(context.Background(), channel, data, opts...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) emit(ev realtime.RenEvent, opts ...realtime.EventOption) {
	h.t.Helper()
	if err := h.Emit(context.Background(), ev, opts...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) join(channel, user string, metadata any, opts ...realtime.EventOption) {
	h.t.Helper()
	if err := h.Presence().Join(context.Background(), channel, user, metadata, opts...); err != nil {
		h.t.Fatal(err)
	}
}

// request is what a client asks for.
type request struct {
	method string // GET
	path   string
	header http.Header
}

func get(path string, header ...string) request {
	r := request{method: http.MethodGet, path: path, header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		r.header.Add(header[i], header[i+1])
	}
	return r
}

func (h *host) do(ctx context.Context, r request) *http.Response {
	h.t.Helper()
	req, err := http.NewRequestWithContext(ctx, r.method, "http://host.test"+r.path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header = r.header
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp
}

// refusal is the one shape of errors.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Retry   *bool  `json:"retry"`
}

// refused returns the status and body of a request that is answered with an
// error.
func (h *host) refused(r request) (status int, f refusal) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	resp := h.do(ctx, r)
	defer resp.Body.Close()
	if typ := resp.Header.Get("Content-Type"); typ != "application/json" {
		h.t.Errorf("%s %s: %s with Content-Type %q, want an error as JSON", r.method, r.path, resp.Status, typ)
		return resp.StatusCode, f
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, parseRefusal(h.t, body)
}

func parseRefusal(t testing.TB, body []byte) (f refusal) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil || f.Code == "" || f.Message == "" || f.Retry == nil {
		t.Errorf("error %s is not {code, message, retry}: %v", body, err)
	}
	return f
}

// ren is an open REN stream.
type ren struct {
	t      testing.TB
	resp   *http.Response
	events *inbox[renEvent]
	cancel context.CancelFunc
	hello  renEvent

	patience time.Duration // default patience
}

// renEvent is a data event, or a control event with a name.
type renEvent struct {
	realtime.RenEvent
	Name, ID, Raw string
	Retry         time.Duration // that was in force

	Cursor, State, Reason, Src, UserID string
	Domains                            []string
	TS                                 int64
	RetryMs                            int64
	ExpiresIn                          *int64
}

// ren opens a stream and reads its hello.
func (h *host) ren(r request) *ren {
	h.t.Helper()
	s := h.renStalled(r)
	s.pump()
	s.hello = s.next()
	if s.hello.Name != "ren.hello" {
		h.t.Fatalf("the stream begins with %+v, not with ren.hello", s.hello)
	}
	return s
}

// renStalled opens a stream of which nothing is read until pump is called.
func (h *host) renStalled(r request) *ren {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.t.Cleanup(cancel)
	resp := h.do(ctx, r)
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		h.t.Fatalf("%s: %s: %s", r.path, resp.Status, body)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	return &ren{t: h.t, resp: resp, events: newInbox[renEvent](), cancel: cancel}
}

func (s *ren) pump() {
	go func() {
		defer s.events.close()
		r := sse.NewReader(s.resp.Body, 8<<20)
		for {
			got, err := r.Next()
			if err != nil {
				return
			}
			ev := renEvent{Name: got.Name, ID: got.ID, Raw: got.Data, Retry: r.Retry}
			if got.Name == "message" {
				err = json.Unmarshal([]byte(got.Data), &ev.RenEvent)
			} else {
				var c control
				err = json.Unmarshal([]byte(got.Data), &c)
				ev.Cursor, ev.State, ev.Reason, ev.Src, ev.UserID = c.Cursor, c.State, c.Reason, c.Src, c.UserID
				ev.Domains, ev.TS, ev.RetryMs, ev.ExpiresIn = c.Domains, c.TS, c.RetryMs, c.ExpiresIn
			}
			if err != nil {
				s.t.Errorf("event %q: %v", got.Data, err)
			}
			s.events.put(ev)
		}
	}()
}

type control struct {
	Cursor, State, Reason, Src, UserID string
	Domains                            []string
	TS                                 int64
	RetryMs                            int64
	ExpiresIn                          *int64
}

// inbox is what a client received and the test has not read yet. It has room for
// everything, so that a test that is slow does not make its client so.
type inbox[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	wake   chan struct{}
}

func newInbox[T any]() *inbox[T] { return &inbox[T]{wake: make(chan struct{}, 1)} }

func (b *inbox[T]) put(item T) { b.change(func() { b.items = append(b.items, item) }) }

func (b *inbox[T]) close() { b.change(func() { b.closed = true }) }

func (b *inbox[T]) change(f func()) {
	b.mu.Lock()
	f()
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// all takes what there is, and says whether there will be more.
func (b *inbox[T]) all() (items []T, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items, b.items = b.items, nil
	return items, !b.closed
}

// next waits for an item, or the end of them: then ok is false.
func (b *inbox[T]) next(t testing.TB, wait time.Duration) (item T, ok bool) {
	t.Helper()
	late := time.NewTimer(wait)
	defer late.Stop()
	for {
		b.mu.Lock()
		if len(b.items) > 0 {
			item, b.items = b.items[0], b.items[1:]
			b.mu.Unlock()
			return item, true
		}
		closed := b.closed
		b.mu.Unlock()
		if closed {
			return item, false
		}
		select {
		case <-b.wake:
		case <-late.C:
			t.Fatalf("nothing came within %v", wait)
		}
	}
}

// end waits until nothing more comes, and forgets what was not read.
func (b *inbox[T]) end() {
	for {
		if _, more := b.all(); !more {
			return
		}
		<-b.wake
	}
}

// patience is how long tests wait for what has to come: virtual time in bubbles.
const patience = 20 * time.Second

// next returns the next event that is not a ping.
func (s *ren) next() renEvent {
	s.t.Helper()
	for {
		ev, ok := s.any(cmp.Or(s.patience, patience))
		if !ok {
			s.t.Fatal("the stream ended")
		}
		if ev.Name != "ren.ping" {
			return ev
		}
	}
}

func (s *ren) any(wait time.Duration) (renEvent, bool) {
	s.t.Helper()
	return s.events.next(s.t, wait)
}

// keys reads n data events and returns their keys, or data if they have none.
func (s *ren) keys(n int) string {
	s.t.Helper()
	var list []string
	for range n {
		ev := s.next()
		switch {
		case ev.Name != "message":
			list = append(list, ev.Name)
		case ev.Key != "":
			list = append(list, ev.Key)
		default:
			list = append(list, string(ev.Data))
		}
	}
	return strings.Join(list, " ")
}

// rest returns, in a bubble, what else the stream has, without pings.
func (s *ren) rest() []renEvent {
	synctest.Wait()
	all, _ := s.events.all()
	return slices.DeleteFunc(all, func(ev renEvent) bool { return ev.Name == "ren.ping" })
}

// nothing fails if, in a bubble, the stream has anything but pings.
func (s *ren) nothing() {
	s.t.Helper()
	for _, ev := range s.rest() {
		s.t.Errorf("unexpected event %s %s", ev.Name, ev.Raw)
	}
}

// ended waits for the end of the stream.
func (s *ren) ended() {
	s.t.Helper()
	for {
		if ev, ok := s.any(cmp.Or(s.patience, patience)); !ok {
			return
		} else if ev.Name != "ren.ping" {
			s.t.Errorf("unexpected event %s %s before the end", ev.Name, ev.Raw)
		}
	}
}

// cut drops the connection of a stream and forgets what was not read.
func (s *ren) cut() {
	s.cancel()
	s.resp.Body.Close()
	s.events.end()
}

// socket is an open WebSocket.
type socket struct {
	t       testing.TB
	ws      *websocket.Conn
	net     net.Conn // beneath ws
	objects *inbox[object]
	err     error // how it ended; valid once objects has ended
	hello   object
	ref     int64
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
	s := &socket{t: h.t, objects: newInbox[object]()}
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

func (s *socket) pump() {
	go func() {
		defer s.objects.close()
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
					s.t.Errorf("object %q: %v", line, err)
				}
				s.objects.put(o)
			}
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

// next returns the next object that is not a ping.
func (s *socket) next() object {
	s.t.Helper()
	for {
		o, ok := s.any(patience)
		if !ok {
			s.t.Fatalf("the connection ended: %v", s.err)
		}
		if o.Event != "ping" {
			return o
		}
	}
}

func (s *socket) any(wait time.Duration) (object, bool) {
	s.t.Helper()
	return s.objects.next(s.t, wait)
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

// rest returns, in a bubble, what else the server sent, without pings.
func (s *socket) rest() []object {
	synctest.Wait()
	all, _ := s.objects.all()
	return slices.DeleteFunc(all, func(o object) bool { return o.Event == "ping" })
}

// nothing fails if, in a bubble, the server sent anything but pings.
func (s *socket) nothing() {
	s.t.Helper()
	for _, o := range s.rest() {
		s.t.Errorf("unexpected object %s", o.raw)
	}
}

// closed waits for the end, and returns the close code, -1 if there is none, and
// the last objects.
func (s *socket) closed() (code int, last []object) {
	s.t.Helper()
	for {
		o, ok := s.any(time.Minute)
		if !ok {
			return int(websocket.CloseStatus(s.err)), last
		}
		if o.Event != "ping" {
			last = append(last, o)
		}
	}
}

// drop breaks the connection without a word.
func (s *socket) drop() {
	s.net.Close()
	s.objects.end()
}

// leave closes the connection in an orderly way.
func (s *socket) leave() {
	s.ws.Close(websocket.StatusNormalClosure, "")
	s.objects.end()
}
