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
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/grant"
	"github.com/maravilla-realtime/realtime/internal/guard"
	"github.com/maravilla-realtime/realtime/internal/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/sse"
	"github.com/maravilla-realtime/realtime/internal/tcp"
	"github.com/maravilla-realtime/realtime/internal/turns"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// serveREN checks a request for the REN stream and runs it.
func (rt *Realtime) serveREN(w http.ResponseWriter, r *http.Request) {
	if rt.probes.Recognises(r) {
		rt.probes.ServeStream(w, r)
		return
	}
	if f := rt.admit(r); f != nil {
		rt.refuse(f).write(w)
		return
	}
	switch r.Method {
	case http.MethodGet:
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "GET, OPTIONS")
		rt.refuse(refuse(http.StatusMethodNotAllowed, "method", "only GET is served here")).write(w)
		return
	}
	rt.stream(w, r, func(h *conns.Handshake) (*stream, *refusal) {
		ask, f := parseREN(r)
		if f != nil {
			return nil, f
		}
		if rt.takesOver(w, r) {
			return rt.newParked(r, ask, h)
		}
		return rt.newStream(r, ask, h)
	})
}

// stream runs what begin makes of a request that was admitted: in this goroutine, or
// without one.
func (rt *Realtime) stream(w http.ResponseWriter, r *http.Request, begin func(*conns.Handshake) (*stream, *refusal)) {
	handshake := rt.conns.Begin()
	defer handshake.End()
	s, f := begin(handshake)
	if f != nil {
		refuseStream(w, r, rt.refuse(f.from(r)))
		return
	}
	if s.parked != nil {
		s.parked.park(w, r, handshake)
		return
	}
	out, missing := httpwriter.New(w, time.Now().Add(rt.opts.WriteTimeout))
	if missing != nil {
		rt.refuseWriter(w, missing)
		return
	}
	s.w = out
	if f := rt.refusalOf(handshake.Add(&s.conn, s.id.User)); f != nil {
		refuseStream(w, r, rt.refuse(f.from(r)))
		return
	}
	handshake.End()
	defer rt.conns.Remove(&s.conn)
	s.sent = rt.tally.ren.open()
	s.net = tuneRequest(r)
	if out.Gone() == nil {
		// Nobody else tells when the client is gone. It may be there, though.
		defer context.AfterFunc(r.Context(), func() { s.conn.Cancel(conns.Rotated) })()
	}
	unchunked(w.Header(), r)
	ended := guard.ErrPanic // unless run returns
	defer func() { rt.tally.ren.close(ended) }()
	ended = s.run()
}

// unchunked makes net/http end the body of an HTTP/1.1 stream with the connection, and
// send no chunks, of which WHATWG HTML, section 9.2.7, warns: HAProxy holds each back for
// 200 ms.
func unchunked(h http.Header, r *http.Request) {
	if r.ProtoMajor == 1 {
		h.Set("Transfer-Encoding", "identity")
	}
}

// refuseStream refuses a stream. A bare EventSource gives up for good on any status
// but 200 (WHATWG HTML, section 9.2.3), so where it may come back it gets a stream
// that says so, and ends.
func refuseStream(w http.ResponseWriter, r *http.Request, f *refusal) {
	if !f.Retry || r.Header.Get("Accept") != "text/event-stream" || r.Header.Get(clientHeader) != "" {
		f.write(w)
		return
	}
	wait := conns.RetryAfter()
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

// stream is a REN stream. It drives a [session.Stream] over a response, in the handler's
// goroutine, unless it is parked.
type stream struct {
	rt      *Realtime
	conn    conns.Conn
	id      Identity
	ask     renRequest
	session *session.Stream
	net     net.Conn // nil without ConnContext
	backlog tcp.Backlog
	buf     *session.Buffer // nil while there is nothing to say
	sent    *sentTally

	about card
	shown atomic.Pointer[view] // the view of the last grants

	parked *parked         // nil if it runs in the handler's goroutine, which has what follows
	ctx    context.Context // ends with a *conns.Ending
	bell   session.Bell
	w      *httpwriter.Stream
}

// renRequest is what a client asks for.
type renRequest struct {
	domains []string // nil: all
	every   time.Duration
	cursor  string
	client  string
}

// newStream returns a stream for the goroutine of the handler.
func (rt *Realtime) newStream(r *http.Request, ask renRequest, handshake *conns.Handshake) (*stream, *refusal) {
	s := &stream{rt: rt, ask: ask, bell: session.NewBell()}
	if f := s.begin(r, handshake, s.bell.Ring); f != nil {
		return nil, f
	}
	// A middleware's timeout must not cut the stream, nor a server's context: it ends
	// with a bye, or with the client.
	s.ctx, s.conn.Cancel = context.WithCancelCause(context.WithoutCancel(r.Context()))
	return s, nil
}

// begin asks the policy, and makes the session.
func (s *stream) begin(r *http.Request, handshake *conns.Handshake, wake func()) (f *refusal) {
	if s.id, f = s.rt.authenticate(handshake, r); f != nil {
		return f
	}
	grants, f := s.rt.grantsOf(r.Context(), handshake, s.id)
	if f != nil {
		return f
	}
	s.about.fill("ren", r)
	s.about.identify(s.ask.client)
	s.session = session.NewStream(s.rt.ring, wake)
	s.session.Every(s.ask.every)
	cursor := s.ask.cursor
	s.ask.cursor = ""
	s.session.Do(func() {
		// A server that crashes says no goodbye, so every stream gets its own pace of
		// coming back beforehand.
		s.session.Retry(time.Second + mathrand.N(4*time.Second))
		s.session.Begin(wire.Since(cursor), s.view(grants), grant.Topics(grants, s.ask.domains), s.hello(grants))
	})
	s.conn.Recheck, s.conn.Owner = s.recheck, s
	return nil
}

// view is what the client sees with grants.
func (s *stream) view(grants []grant.Grant) *view {
	v := &view{policy: &s.rt.policy, id: &s.id, grants: grants}
	s.shown.Store(v)
	return v
}

// hello is what the client is told of a stream with grants.
func (s *stream) hello(grants []grant.Grant) session.Hello {
	return session.Hello{
		Domains: grant.Domains(grants, s.ask.domains), Src: wire.Tag(s.ask.client), User: s.id.User, ExpiresIn: expiresIn(s.id),
	}
}

// maxEvery is the longest interval of a stream that carries the newest events, in
// milliseconds: pings would come late otherwise.
const maxEvery = 10_000

func parseREN(r *http.Request) (ask renRequest, f *refusal) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return ask, refuse(http.StatusBadRequest, "bad_request", "malformed query")
	}
	for _, name := range []string{"s", "lastEventId", "cid", "every"} {
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
	if every := query.Get("every"); every != "" {
		ms, err := strconv.Atoi(every)
		if err != nil || ms < 1 || ms > maxEvery {
			return ask, refuse(http.StatusBadRequest, "bad_request", "every must be 1 to %d milliseconds", maxEvery)
		}
		ask.every = time.Duration(ms) * time.Millisecond
	}
	ask.cursor, ask.client = query.Get("lastEventId"), query.Get("cid")
	if v := r.Header.Get("Last-Event-ID"); v != "" {
		ask.cursor = v
	}
	if v := r.Header.Get(clientHeader); v != "" {
		ask.client = v
	}
	if ask.client != "" && !wire.ValidClientID(ask.client) {
		return ask, &refusal{status: http.StatusBadRequest, Error: wire.BadClientID(ask.client)}
	}
	return ask, nil
}

// run is the stream: what is ready goes out at once and in one piece, then it
// waits for more. The error says why it ended.
func (s *stream) run() error {
	defer s.conn.Cancel(nil)
	s.conn.OnAbort(func() { _ = s.w.SetWriteDeadline(time.Now()) }) // if it fails, no write is stuck
	defer s.session.Close()
	streamHeaders(s.w.Header())
	s.w.WriteHeader(http.StatusOK)

	ping := time.NewTicker(s.rt.opts.Heartbeat)
	defer ping.Stop()
	rotate := time.AfterFunc(s.life(), func() { s.conn.Cancel(conns.Rotated) })
	defer rotate.Stop()
	defer s.conn.Expire(s.id.Expires)()
	for {
		if err := s.deliver(); err != nil {
			s.failed(err)
			return err
		}
		select {
		case <-s.w.Gone():
			return nil
		case <-s.bell:
		case <-ping.C:
			s.session.Do(func() { s.session.Ping(time.Now().UnixMilli()) })
		case <-s.ctx.Done():
			s.bye()
			return context.Cause(s.ctx)
		}
	}
}

// life returns how long the stream may last.
func (s *stream) life() time.Duration {
	life := s.rt.opts.StreamLife
	return life*4/5 + mathrand.N(life*2/5)
}

// deliver writes all there is to say, batch by batch, until the stream is complete
// or has to end.
func (s *stream) deliver() error {
	for more := true; more && s.ctx.Err() == nil; {
		var err error
		if more, err = s.fill(); err != nil {
			return err
		}
	}
	return nil
}

// fill writes one batch.
func (s *stream) fill() (more bool, err error) {
	if s.buf == nil {
		s.buf = session.NewBuffer()
	}
	more = s.session.Fill(s.buf, session.Batch)
	if err := s.write(s.buf.Bytes); err != nil {
		return false, err
	}
	s.rt.tally.ren.sent(s.sent, s.buf, time.Now())
	if !more {
		s.buf.Release()
		s.buf = nil
	}
	return more, nil
}

// chunk is what a client must be able to take in one WriteTimeout.
const chunk = 16 << 10

// write writes to a client, which has time as long as it makes progress.
func (s *stream) write(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	s.sent.wait(&s.conn, true)
	defer s.sent.wait(&s.conn, false)
	for len(out) > 0 {
		n := min(len(out), chunk)
		now := time.Now()
		deadline := now.Add(s.rt.opts.WriteTimeout + s.backlog.Allow(s.net, now))
		if err := s.w.SetWriteDeadline(deadline); err != nil {
			return err
		}
		if s.conn.IsAborted() { // perhaps before the deadline was put off
			return context.Cause(s.ctx)
		}
		if err := s.put(out[:n]); err != nil {
			return s.slow(deadline, err)
		}
		s.backlog.Add(n, time.Now())
		out = out[n:]
	}
	// HTTP/2 resets a stream whose deadline passes, in use or not.
	_ = s.w.SetWriteDeadline(time.Time{})
	return nil
}

// put writes to the client, and not only to a buffer.
func (s *stream) put(out []byte) error {
	if _, err := s.w.Write(out); err != nil {
		return err
	}
	return s.w.Flush()
}

// slow returns why a write failed: servers report a deadline in different ways.
func (s *stream) slow(deadline time.Time, err error) error {
	switch {
	case s.ctx.Err() != nil:
		return fault.Errorf("%w: %w", context.Cause(s.ctx), err)
	case !time.Now().Before(deadline):
		return fault.Errorf("%w: %w", errSlow, err)
	}
	return err
}

// failed logs an error that is not the client's.
func (s *stream) failed(err error) {
	if errors.Is(err, guard.ErrPanic) {
		s.rt.log.Error("realtime: a ResponseWriter cannot be flushed; the stream is dropped", "type", fmt.Sprintf("%T", s.w.ResponseWriter), "error", err)
	}
}

// bye says why the server ends the stream, where it is the server.
func (s *stream) bye() {
	var end *conns.Ending
	if errors.As(context.Cause(s.ctx), &end) {
		finish(&s.conn, &s.session.Session, lastWords(end), s.fill)
	}
}

// lastWords is what a client is told when its connection ends.
func lastWords(end *conns.Ending) session.Ending {
	return session.Ending{Reason: end.Reason, Retry: end.Retry, Rest: end.Rest}
}

// finish writes what is left to say on a connection that ends, with fill, which writes
// one batch.
func finish(c *conns.Conn, s *session.Session, how session.Ending, fill func() (more bool, err error)) {
	s.Bye(how)
	for more := true; more && !c.IsAborted(); {
		var err error
		if more, err = fill(); err != nil {
			return // the client is gone
		}
	}
}

// recheck asks for the grants again and goes on with them where the stream is: it
// gets another hello.
func (s *stream) recheck(ctx context.Context, turns *turns.Turns) {
	turn := s.session.Turn()
	call := &rights.Call{Conn: &s.conn}
	ctx, end := call.Begin(ctx)
	defer end()
	grants, f := s.regrants(ctx, turns)
	run := s.conn.RunOnWriter
	if call.ByFragment() {
		run = s.conn.RunOnWriterSoon
	}
	run(s.session.Do, func() {
		switch {
		case !s.session.Newest(turn): // the policy has been asked again meanwhile, and has answered
		case f != nil:
			f.about.Address = s.about.address
			s.rt.refuse(f)
			end := &conns.Ending{Reason: f.Code}
			if f.Retry {
				end.Retry = conns.RetryAfter()
			}
			s.conn.End(end)
		default:
			s.session.Regrant(s.view(grants), grant.Topics(grants, s.ask.domains), s.hello(grants))
		}
	})
}

// regrants asks for the grants when its turn has come.
func (s *stream) regrants(ctx context.Context, turns *turns.Turns) ([]grant.Grant, *refusal) {
	turns.Take()
	defer turns.Give(time.Now())
	return s.rt.grants(ctx, s.id)
}

func (s *stream) card() *card { return &s.about }

func (s *stream) Unread() (int, time.Time) { return s.session.Unread() }

func (s *stream) joined() []string { return nil }

func (s *stream) sees() []string {
	shown := s.shown.Load()
	if shown == nil {
		return nil
	}
	return grant.Names(shown.grants, s.ask.domains)
}
