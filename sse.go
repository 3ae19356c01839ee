package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/sse"
	"github.com/maravilla-realtime/realtime/internal/tcp"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// serveREN checks a request for the REN stream and runs it. The handler's
// goroutine is the stream's only one.
func (rt *Realtime) serveREN(w http.ResponseWriter, r *http.Request) {
	if f := rt.admit(r); f != nil {
		f.write(w)
		return
	}
	switch r.Method {
	case http.MethodGet:
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "GET, OPTIONS")
		refuse(http.StatusMethodNotAllowed, "method", "only GET is served here").write(w)
		return
	}
	arriving := rt.conns.arrive()
	defer arriving.gone()
	s, f := rt.newStream(r, arriving)
	if f != nil {
		sendAway(w, r, f)
		return
	}
	out, missing := newStreamWriter(w, time.Now().Add(rt.opts.WriteTimeout))
	if missing != nil {
		missing.refuse(rt, w)
		return
	}
	s.w = out
	if f := arriving.add(&s.conn, s.view.id.User); f != nil {
		sendAway(w, r, f)
		return
	}
	arriving.gone()
	defer rt.conns.remove(&s.conn)
	s.net = tuneRequest(r)
	if out.gone == nil {
		// Nobody else tells when the client is gone. It may be there, though.
		defer context.AfterFunc(r.Context(), func() { s.conn.cancel(rotated) })()
	}
	if r.ProtoMajor == 1 {
		// Net/http then ends the body with the connection and sends no chunks, of
		// which WHATWG HTML, section 9.2.7, warns: HAProxy holds each back for 200 ms.
		w.Header().Set("Transfer-Encoding", "identity")
	}
	s.run()
}

// sendAway refuses a stream. A bare EventSource gives up for good on any status
// but 200 (WHATWG HTML, section 9.2.3), so where it may come back it gets a stream
// that says so, and ends.
func sendAway(w http.ResponseWriter, r *http.Request, f *refusal) {
	if !f.Retry || r.Header.Get("Accept") != "text/event-stream" || r.Header.Get(clientHeader) != "" {
		f.write(w)
		return
	}
	wait := retryAfter()
	data, _ := json.Marshal(map[string]any{"reason": f.Code, "retryMs": wait.Milliseconds()}) // a string and a number
	streamHeaders(w.Header())
	_, _ = w.Write(sse.AppendEvent(sse.AppendRetry(nil, wait), "ren.bye", "", data)) // the client is gone, or has it
}

func streamHeaders(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx
	h.Set("X-Content-Type-Options", "nosniff")
}

// stream is one REN stream.
type stream struct {
	rt   *Realtime
	ctx  context.Context
	conn conn
	view view
	ask  renRequest
	todo chan func() // to be done by the stream's goroutine, between two batches

	asked   atomic.Uint64 // how often the policy was asked again
	granted uint64        // which of these times view.grants are from

	w       *streamWriter
	net     net.Conn // nil without ConnContext
	backlog tcp.Backlog
	reader  *ring.Reader
	out     []byte
	items   []ring.Item
	pos     backend.Position // complete up to here
}

// renRequest is what a client asks for.
type renRequest struct {
	domains []string // nil: all
	cursor  string
	client  string
}

func (rt *Realtime) newStream(r *http.Request, arriving *arrival) (*stream, *refusal) {
	ask, f := parseREN(r)
	if f != nil {
		return nil, f
	}
	id, f := arriving.authenticate(rt, r)
	if f != nil {
		return nil, f
	}
	grants, f := arriving.grants(r.Context(), rt, id)
	if f != nil {
		return nil, f
	}
	s := &stream{rt: rt, ask: ask, todo: make(chan func()), view: view{policy: &rt.policy, id: id, grants: grants}}
	// A middleware's timeout must not cut the stream, nor a server's context: it ends
	// with a bye, or with the client.
	s.ctx, s.conn.cancel = context.WithCancelCause(context.WithoutCancel(r.Context()))
	s.conn.recheck = s.recheck
	return s, nil
}

func parseREN(r *http.Request) (ask renRequest, f *refusal) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return ask, refuse(http.StatusBadRequest, "bad_request", "malformed query")
	}
	for _, name := range []string{"s", "lastEventId", "cid"} {
		if len(query[name]) > 1 {
			return ask, refuse(http.StatusBadRequest, "bad_request", "parameter %q stands twice", name)
		}
	}
	if list := query.Get("s"); list != "" && list != "*" {
		ask.domains = strings.Split(list, ",")
	}
	if len(ask.domains) > maxDomains {
		return ask, refuse(http.StatusBadRequest, "too_many", "more than %d domains", maxDomains)
	}
	for _, name := range ask.domains {
		if !wire.ValidDomain(name) {
			return ask, refuse(http.StatusBadRequest, "bad_request", "%s is no resource domain", wire.Quote(name))
		}
	}
	ask.cursor, ask.client = query.Get("lastEventId"), query.Get("cid")
	if v := r.Header.Get("Last-Event-ID"); v != "" {
		ask.cursor = v
	}
	if v := r.Header.Get(clientHeader); v != "" {
		ask.client = v
	}
	if ask.client != "" && !wire.ValidClientID(ask.client) {
		return ask, &refusal{http.StatusBadRequest, wire.BadClientID(ask.client)}
	}
	return ask, nil
}

// run is the stream: what is ready goes out at once and in one piece, then it
// waits for more.
func (s *stream) run() {
	defer s.conn.cancel(nil)
	s.conn.onAbort(func() { _ = s.w.SetWriteDeadline(time.Now()) }) // if it fails, no write is stuck
	s.reader = s.rt.ring.NewReader()
	defer func() { s.reader.Close() }()
	streamHeaders(s.w.Header())
	s.w.WriteHeader(http.StatusOK)
	// A server that crashes says no goodbye, so every stream gets its own pace of
	// coming back beforehand.
	s.out = sse.AppendRetry(s.out, time.Second+mathrand.N(4*time.Second))
	s.hello(s.ask.cursor)

	ping := time.NewTicker(s.rt.opts.Heartbeat)
	defer ping.Stop()
	life := s.rt.opts.StreamLife
	rotate := time.AfterFunc(life*4/5+mathrand.N(life*2/5), func() { s.conn.cancel(rotated) })
	defer rotate.Stop()
	defer s.conn.expire(s.view.id)()
	for {
		if err := s.deliver(); err != nil {
			s.failed(err)
			return
		}
		select {
		case <-s.w.gone:
			return
		case <-s.reader.Wake():
		case f := <-s.todo:
			f()
		case <-ping.C:
			s.control("ren.ping", map[string]any{"ts": time.Now().UnixMilli()})
		case <-s.ctx.Done():
			s.bye()
			return
		}
	}
}

// hello subscribes to what is granted and says how the stream begins behind the
// cursor.
func (s *stream) hello(cursor string) {
	granted := domains(s.view.grants, s.ask.domains)
	start := s.reader.Subscribe(parseSince(cursor), topics(granted)...)
	s.pos = start.Pos
	hello := map[string]any{"state": start.State, "domains": granted}
	if start.Reason != "" {
		hello["reason"] = start.Reason
	}
	if s.ask.client != "" {
		hello["src"] = wire.Tag(s.ask.client)
	}
	if s.view.id.User != "" {
		hello["userId"] = s.view.id.User
	}
	if in := expiresIn(s.view.id); in != nil {
		hello["expiresIn"] = *in
	}
	s.control("ren.hello", hello)
}

// parseSince returns the position of a cursor: nil for none, and a place no log
// has for a string that is not a cursor, so that it is answered with a reset.
func parseSince(cursor string) *backend.Position {
	if cursor == "" {
		return nil
	}
	pos, ok := wire.ParseCursor(cursor)
	if !ok {
		pos = nowhere
	}
	return &pos
}

var nowhere = backend.Position{Epoch: 1<<64 - 1, Seq: 1<<64 - 1}

func topics(domains []string) []ring.Topic {
	if slices.Contains(domains, "*") { // and with it what view.ren leaves out
		return []ring.Topic{{}}
	}
	list := make([]ring.Topic, len(domains))
	for i, name := range domains {
		list[i] = ring.Domain(name)
	}
	return list
}

// control appends a control event. The cursor in it is that up to which the
// stream is complete.
func (s *stream) control(name string, members map[string]any) {
	cursor := wire.Cursor(s.pos)
	members["cursor"] = cursor
	data, _ := json.Marshal(members) // strings and numbers
	s.out = sse.AppendEvent(s.out, name, cursor, data)
}

// batch is what is taken from the ring at once.
var batch = ring.Budget{Entries: 256, Bytes: 256 << 10}

// burst is how many bytes are collected before they are written.
const burst = 64 << 10

// deliver writes all there is to say, batch by batch, and returns when the
// stream is complete.
func (s *stream) deliver() error {
	for more := true; more && !s.conn.over(s.ctx, s.pos); {
		select {
		case f := <-s.todo:
			f()
		default:
		}
		s.items, s.pos, more = s.reader.Next(s.items[:0], batch)
		events := s.resets()
		for _, it := range events {
			s.event(it.Entry)
			if len(s.out) >= burst {
				if err := s.flush(); err != nil {
					return err
				}
			}
		}
		clear(s.items)
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.items = release(s.items, idleItems)
	return nil
}

// resets tells of the resets in items, which come first, and returns the events
// behind them. Domains are reset one by one, but a client has one cursor for all:
// it is told once, with a cursor that leaves out none of the events.
func (s *stream) resets() []ring.Item {
	n := 0
	for n < len(s.items) && s.items[n].Entry == nil {
		n++
	}
	if n > 0 {
		complete := s.pos
		if n < len(s.items) {
			s.pos = s.items[n].Pos
			s.pos.Seq--
		}
		s.control("ren.reset", map[string]any{"reason": s.items[0].Reason})
		s.pos = complete
	}
	return s.items[n:]
}

func (s *stream) event(e *ring.Entry) {
	switch seen, data := s.view.ren(&e.Event); {
	case !seen:
	case data || e.Event.Data == nil:
		s.out = append(s.out, e.Encoded(ring.FormREN, wire.REN)...)
	default:
		s.out = append(s.out, e.Encoded(ring.FormRENBare, wire.RENBare)...)
	}
}

// chunk is what a client must be able to take in one WriteTimeout.
const chunk = 16 << 10

// flush writes what is in out, giving the client time as long as it makes
// progress.
func (s *stream) flush() error {
	s.conn.writing.Store(true)
	defer s.conn.writing.Store(false)
	for out := s.out; len(out) > 0; {
		n := min(len(out), chunk)
		patience := s.rt.opts.WriteTimeout + s.backlog.Allow(s.net)
		if err := s.w.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if s.conn.isAborted() { // perhaps before the deadline was put off
			return context.Cause(s.ctx)
		}
		if _, err := s.w.Write(out[:n]); err != nil {
			return err
		}
		if err := s.w.Flush(); err != nil {
			return err
		}
		s.backlog.Add(n)
		out = out[n:]
	}
	// HTTP/2 resets a stream whose deadline passes, in use or not.
	_ = s.w.SetWriteDeadline(time.Time{})
	s.out = release(s.out, idleBytes)
	return nil
}

// failed logs an error that is not the client's.
func (s *stream) failed(err error) {
	if errors.Is(err, errPanic) {
		s.rt.log.Error("realtime: a ResponseWriter cannot be flushed; the stream is dropped", "type", fmt.Sprintf("%T", s.w.ResponseWriter), "error", err)
	}
}

// What an idle connection keeps of the buffers that a burst needed.
const (
	idleBytes = 2 << 10
	idleItems = 16
)

// release returns an empty buffer: none if buf is larger than an idle connection's.
func release[T any](buf []T, most int) []T {
	if cap(buf) > most {
		return nil
	}
	return buf[:0]
}

// bye says why the server ends the stream, where it is the server.
func (s *stream) bye() {
	var end *ending
	if !errors.As(context.Cause(s.ctx), &end) || s.deliver() != nil {
		return
	}
	if end.retry > 0 {
		s.out = sse.AppendRetry(s.out, end.retry)
	}
	s.control("ren.bye", map[string]any{"reason": end.reason, "retryMs": end.retry.Milliseconds()})
	_ = s.flush() // the client is gone, or is told
}
