package renstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/host/turns"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/tcp"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// stream runs what begin makes of a request that was admitted: in this goroutine, or
// without one.
func (d *Driver) stream(w http.ResponseWriter, r *http.Request, begin func(*conns.Handshake) (*stream, *refused.Refusal)) {
	handshake := d.node.Conns.Begin()
	defer handshake.End()
	s, f := begin(handshake)
	if f != nil {
		refuseStream(w, r, d.node.Refused.Add(f.From(r)))
		return
	}
	if s.parked != nil {
		s.parked.park(w, r, handshake)
		return
	}
	out, missing := httpwriter.New(w, time.Now().Add(d.node.WriteTimeout))
	if missing != nil {
		d.node.RefuseWriter(w, missing)
		return
	}
	s.w = out
	if f := d.node.Refusal(handshake.Add(&s.conn, s.id.User)); f != nil {
		refuseStream(w, r, d.node.Refused.Add(f.From(r)))
		return
	}
	handshake.End()
	defer d.node.Conns.Remove(&s.conn)
	s.sent = d.tally.Open()
	s.net = tcp.TuneRequest(r, d.node.WriteTimeout)
	if out.Gone() == nil {
		// Nobody else tells when the client is gone. It may be there, though.
		defer context.AfterFunc(r.Context(), func() { s.conn.Cancel(conns.Rotated) })()
	}
	sse.Unchunk(w.Header(), r)
	ended := guard.ErrPanic // unless run returns
	defer func() { d.tally.Close(ended) }()
	ended = s.run()
}

// refuseStream refuses a stream. A bare EventSource gives up for good on any status
// but 200 (WHATWG HTML, section 9.2.3), so where it may come back it gets a stream
// that says so, and ends.
func refuseStream(w http.ResponseWriter, r *http.Request, f *refused.Refusal) {
	if !f.Retry || r.Header.Get("Accept") != "text/event-stream" || r.Header.Get(wire.ClientHeader) != "" {
		f.Write(w)
		return
	}
	wait := conns.RetryAfter()
	data, _ := json.Marshal(map[string]any{"reason": f.Code, "retryMs": wait.Milliseconds()}) // a string and a number
	sse.SetHeaders(w.Header())
	_, _ = w.Write(sse.AppendEvent(sse.AppendRetry(nil, wait), "ren.bye", "", data)) // the client is gone, or has it
}

// stream is a REN stream. It drives a [session.Stream] over a response, in the handler's
// goroutine, unless it is parked.
type stream struct {
	*Driver
	conn    conns.Conn
	id      policy.Identity
	ask     request
	session *session.Stream
	net     net.Conn // nil without ConnContext
	backlog tcp.Backlog
	buf     *session.Buffer // nil while there is nothing to say
	sent    *driver.Share

	about conns.Card
	shown atomic.Pointer[policy.View] // the view of the last grants

	parked *parked         // nil if it runs in the handler's goroutine, which has what follows
	ctx    context.Context // ends with a *conns.Ending
	bell   session.Bell
	w      *httpwriter.Stream
}

// newStream returns a stream for the goroutine of the handler.
func (d *Driver) newStream(r *http.Request, ask request, handshake *conns.Handshake) (*stream, *refused.Refusal) {
	s := &stream{Driver: d, ask: ask, bell: session.NewBell()}
	if f := s.begin(r, handshake, s.bell.Ring); f != nil {
		return nil, f
	}
	// A middleware's timeout must not cut the stream, nor a server's context: it ends
	// with a bye, or with the client.
	s.ctx, s.conn.Cancel = context.WithCancelCause(context.WithoutCancel(r.Context()))
	return s, nil
}

// begin asks the policy, and makes the session.
func (s *stream) begin(r *http.Request, handshake *conns.Handshake, wake func()) (f *refused.Refusal) {
	if s.id, f = s.node.Identify(handshake, r); f != nil {
		return f
	}
	grants, f := s.node.Granted(r.Context(), handshake, s.id)
	if f != nil {
		return f
	}
	s.about.Fill("ren", r)
	s.about.Identify(s.ask.client)
	s.session = session.NewStream(s.node.Ring, wake)
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
func (s *stream) view(grants []grant.Grant) *policy.View {
	v := s.node.Policy.View(&s.id, grants)
	s.shown.Store(v)
	return v
}

// hello is what the client is told of a stream with grants.
func (s *stream) hello(grants []grant.Grant) session.Hello {
	return session.Hello{
		Domains: grant.Domains(grants, s.ask.domains), Src: wire.Tag(s.ask.client), User: s.id.User, ExpiresIn: s.id.ExpiresIn(),
	}
}

// run is the stream: what is ready goes out at once and in one piece, then it
// waits for more. The error says why it ended.
func (s *stream) run() error {
	s.conn.OnAbort(func() { _ = s.w.SetWriteDeadline(time.Now()) }) // if it fails, no write is stuck
	defer s.session.Close()
	sse.SetHeaders(s.w.Header())
	s.w.WriteHeader(http.StatusOK)

	ping := time.NewTicker(s.node.Heartbeat)
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
	life := s.node.Life
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
	s.tally.Sent(s.sent, s.buf, time.Now())
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
	s.sent.Wait(&s.conn, true)
	defer s.sent.Wait(&s.conn, false)
	for len(out) > 0 {
		n := min(len(out), chunk)
		now := time.Now()
		deadline := now.Add(s.backlog.Allow(s.net, s.node.WriteTimeout, now))
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
		return fault.Errorf("%w: %w", driver.ErrSlow, err)
	}
	return err
}

// failed logs an error that is not the client's.
func (s *stream) failed(err error) {
	if errors.Is(err, guard.ErrPanic) {
		s.node.Logger.Error("realtime: a ResponseWriter cannot be flushed; the stream is dropped", "type", fmt.Sprintf("%T", s.w.ResponseWriter), "error", err)
	}
}

// bye says why the server ends the stream, where it is the server.
func (s *stream) bye() {
	var end *conns.Ending
	if errors.As(context.Cause(s.ctx), &end) {
		driver.Finish(&s.conn, &s.session.Session, driver.LastWords(end), s.fill)
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
			f.About.Address = s.about.Address
			s.node.Refused.Add(f)
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
func (s *stream) regrants(ctx context.Context, turns *turns.Turns) ([]grant.Grant, *refused.Refusal) {
	turns.Take()
	defer turns.Give(time.Now())
	return s.node.Policy.Granted(ctx, s.id)
}

// Card implements [conns.Owner].
func (s *stream) Card() *conns.Card { return &s.about }

// Unread implements [conns.Owner].
func (s *stream) Unread() (int, time.Time) { return s.session.Unread() }

// Joined implements [conns.Owner].
func (s *stream) Joined() []string { return nil }

// Sees implements [conns.Owner].
func (s *stream) Sees() []string { return grant.Names(s.shown.Load().Grants(), s.ask.domains) }
