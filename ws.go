package realtime

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/guard"
	"github.com/maravilla-realtime/realtime/internal/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	messageTime = 10 * time.Second // for the hello, a message that makes no progress, the answer to a ping
	maxErrors   = 20               // a minute: the last of them ends the connection
)

// serveWebSocket checks a request for a WebSocket and runs it.
func (rt *Realtime) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if rt.probes.Recognises(r) {
		rt.probes.ServeSocket(w, r)
		return
	}
	f := rt.admit(r)
	if f == nil {
		f = checkHandshake(w, r)
	}
	if f != nil {
		rt.refuse(f.from(r)).write(w)
		return
	}
	if missing := httpwriter.Hijackable(w, r); missing != nil {
		rt.refuseWriter(w, missing)
		return
	}
	s := rt.newSocket(w, r)
	handshake := rt.conns.Begin()
	defer handshake.End()
	if !s.late {
		id, f := rt.authenticate(handshake, r)
		if f != nil {
			rt.refuse(f).write(w)
			return
		}
		s.id = id
	}
	if f := rt.refusalOf(handshake.Add(&s.conn, s.id.User)); f != nil {
		s.conn.Cancel(nil)
		rt.refuse(f.from(r)).write(w)
		return
	}
	handshake.End()
	switch conn := s.upgrade(w, r); {
	case conn == nil:
		s.remove()
	case s.task != nil:
		s.begin(conn)
	default:
		defer s.remove()
		s.run()
	}
}

// upgrade takes the connection over and answers the handshake. It returns nil where that
// fails.
func (s *socket) upgrade(w http.ResponseWriter, r *http.Request) net.Conn {
	rt := s.rt
	conn, rw, missing := httpwriter.Hijack(w)
	if missing != nil {
		rt.refuseWriter(w, missing)
		return nil
	}
	tune(conn, true)
	ws, err := wsconn.Accept(conn, rw, r, w.Header(), wsconn.Options{
		Subprotocol: wire.Subprotocol, ReadLimit: rt.opts.Limits.Message,
		Patience: messageTime, WriteTime: rt.opts.WriteTimeout, Admit: s.admit,
	})
	if err != nil {
		return nil // the client is gone
	}
	s.ws = ws
	s.sent = rt.tally.webSocket.open()
	return conn
}

// remove is the last of a connection that was added.
func (s *socket) remove() {
	if s.ws != nil {
		s.rt.tally.webSocket.close(context.Cause(s.ctx))
	}
	s.conn.Cancel(nil)
	s.rt.conns.Remove(&s.conn)
}

// socket drives a [session.Channels] over a WebSocket. One goroutine reads and decides,
// another one writes: that of the handler and one of the connection's own, or, where
// there is a task, one that lives while there is something to read, and a shard's.
// Whatever changes what is written is done by the writer, in the session.
type socket struct {
	sharded
	rt      *Realtime
	opening opening
	ctx     context.Context // ends with a *conns.Ending, *wsconn.CloseError or other error
	conn    conns.Conn
	ws      *wsconn.Conn
	name    string // in session keys
	group   errgroup.Group
	asking  atomic.Bool // whether the client is there
	session *session.Channels
	bell    session.Bell
	answers chan struct{} // holds one for each answer that waits for the writer

	deciding chan struct{} // holds one while an operation is decided and done
	again    atomic.Bool   // all is to be checked by who gives deciding back
	checks   atomic.Uint64 // how often all was, or is being, checked
	sessions memberships
	renewing atomic.Bool // the rights of a new identity are being checked

	// the reader's, who holds deciding while it changes them
	turn       uint64 // of the operation: see session.Session.Turn
	id         Identity
	late       bool // authenticated with the hello
	greeted    bool
	helloLate  *time.Timer // ends the connection of a client that does not greet; nil: it has
	stopExpiry func() bool
	client     string
	pace       *rate.Limiter   // beyond it operations are refused
	flood      *rate.Limiter   // of frames: beyond it the connection is closed
	errors     *rate.Limiter   // nil: there was none
	begun      <-chan struct{} // closed when the last subscription asked for has begun
	paged      <-chan struct{} // closed when the last page of history was sent

	buf   *session.Buffer // the writer's; nil while there is nothing to say
	about card
	sent  *sentTally
}

// already is closed.
var already = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// answersAtOnce is how many answers may wait for a client that does not read.
const answersAtOnce = 16

func (rt *Realtime) newSocket(w http.ResponseWriter, r *http.Request) *socket {
	limits := rt.opts.Limits
	s := &socket{
		rt: rt, opening: keepRequest(r), name: rand.Text(), late: r.URL.Query().Get("auth") == "hello",
		answers: make(chan struct{}, answersAtOnce), deciding: make(chan struct{}, 1), begun: already, paged: already,
		stopExpiry: func() bool { return false },
		pace:       rate.NewLimiter(rate.Limit(limits.Rate), limits.Burst),
		flood:      rate.NewLimiter(rate.Limit(floodFactor*limits.Rate), floodFactor*limits.Burst),
	}
	if rt.takesSocket(w, r) {
		s.task = rt.shards.NewTask(s)
	} else {
		s.bell = session.NewBell()
	}
	s.session = session.NewChannels(rt.ring, s.wake, s, s.view(Identity{}), limits.Channels)
	s.about.fill("websocket", r)
	ctx, cancel := context.WithCancelCause(valuesOf(r))
	s.ctx, s.conn.Cancel = ctx, func(why error) {
		cancel(why)
		s.wake()
	}
	s.conn.Recheck, s.conn.Owner = s.recheck, s
	return s
}

// wake wakes the writer. Any goroutine may call it.
func (s *socket) wake() {
	if s.task != nil {
		s.task.Wake()
	} else {
		s.bell.Ring()
	}
}

// view is what the client sees as id.
func (s *socket) view(id Identity) *view { return &view{policy: &s.rt.policy, id: &id} }

func (s *socket) run() {
	s.conn.OnAbort(s.ws.Drop)
	defer s.session.Close()
	s.group.Go(func() error {
		sound := s.guard(s.write)
		s.guard(func() error { return s.close(sound) })
		s.ws.Drop() // where nothing has closed it
		s.conn.Silence()
		return nil
	})
	s.expectHello()
	s.guard(s.read)
	s.ws.Discard() // for the closing handshake
	s.settle()
}

// expectHello ends the connection unless its client greets in time.
func (s *socket) expectHello() {
	s.helloLate = time.AfterFunc(messageTime, func() { s.conn.Cancel(conns.NoHello) })
}

// hasGreeted ends the wait for a client's hello. An idle connection keeps no timer.
func (s *socket) hasGreeted() {
	if s.helloLate != nil {
		s.helloLate.Stop()
		s.helloLate = nil
	}
}

// settle waits for what was begun for the connection, and ends the presence of its user.
func (s *socket) settle() {
	s.hasGreeted()
	_ = s.group.Wait() // the errors are in the context
	s.stopExpiry()
	s.leaveAll()
}

// guard runs f, after which the connection ends, and reports whether it returned. A
// panic, which is a fault in the host's policy or in this library, ends it as well.
func (s *socket) guard(f func() error) (sound bool) {
	sound = s.step(f)
	s.conn.Cancel(nil)
	return sound
}

// step is guard, except that the connection goes on if f returns no error.
func (s *socket) step(f func() error) (sound bool) {
	switch err := conns.Guard(s.rt.log, f); {
	case errors.Is(err, guard.ErrPanic):
		s.conn.Cancel(&wsconn.CloseError{Code: 1011, Reason: "internal error"})
		return false
	case err != nil && err != wsconn.ErrIdle:
		s.conn.Cancel(err)
	}
	return true
}

// do hands f to the writer. It waits while too much of that waits, which makes a
// client that does not read its answers wait with its questions.
func (s *socket) do(f func()) {
	select {
	case s.answers <- struct{}{}:
		s.session.Do(func() {
			<-s.answers
			f()
		})
	case <-s.ctx.Done():
	}
}

func (s *socket) answer(f wire.Frame) { s.do(func() { s.session.Answer(f) }) }

// write is the writer.
func (s *socket) write() error {
	ping := time.NewTicker(s.rt.opts.Heartbeat)
	defer ping.Stop()
	for s.ctx.Err() == nil {
		more, err := s.fill()
		if err != nil {
			return err
		}
		if more {
			continue
		}
		select {
		case <-s.bell:
		case <-ping.C:
			s.ping()
		case <-s.ctx.Done():
		}
	}
	return nil
}

// fill writes what there is to say: answers, a batch of events, a part of a roster.
func (s *socket) fill() (more bool, err error) {
	if s.buf == nil {
		s.buf = session.NewBuffer()
	}
	more = s.session.Fill(s.buf, session.Batch)
	if s.buf.Len() > 0 {
		if err := s.transmit(s.buf); err != nil {
			return false, err
		}
	}
	s.told()
	if !more {
		s.buf.Release()
		s.buf = nil
	}
	return more, nil
}

// told counts what was written.
func (s *socket) told() {
	s.rt.tally.webSocket.sent(s.sent, s.buf, time.Now())
	for _, code := range s.buf.Told.Errors {
		s.rt.tally.refusals.Inc(code)
	}
}

// transmit writes messages. It ends by WriteTimeout or Drop.
func (s *socket) transmit(buf *session.Buffer) (err error) {
	s.sent.wait(&s.conn, true)
	defer s.sent.wait(&s.conn, false)
	switch {
	case buf.Frame != nil:
		err = s.ws.WriteFrame(buf.Frame)
	case len(buf.Bytes) > 0:
		err = s.ws.WriteWithRoom(buf.WithRoom())
	}
	if err != nil || len(buf.Part) == 0 {
		return err
	}
	return s.ws.Write(buf.Part)
}

// ping tells the client's script that the connection lives, and asks the
// client's WebSocket whether it does.
func (s *socket) ping() {
	s.session.Do(func() { s.session.Ping(time.Now().UnixMilli()) })
	if !s.asking.CompareAndSwap(false, true) {
		return // a slow client has not come to the last one
	}
	s.group.Go(func() error {
		defer s.asking.Store(false)
		switch err := s.ws.Ping(s.ctx); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.conn.Cancel(errNoPong)
			s.ws.Drop() // nobody is there to say goodbye to
		case err != nil:
			s.conn.Cancel(err)
		}
		return nil
	})
}

// close ends the connection the way its context ended. If the writer was not sound,
// what it was about to say is not said: it would fail again.
func (s *socket) close(sound bool) error {
	var how session.Ending
	var code int
	var reason string
	var end *conns.Ending
	var told *wsconn.CloseError
	switch cause := context.Cause(s.ctx); {
	case errors.As(cause, &end):
		code, reason = end.Code, end.Reason
		how = lastWords(end)
	case errors.As(cause, &told): // the error that leads to it is an answer
		code, reason = told.Code, told.Reason
	default: // nobody is there
		return nil
	}
	if sound && s.finishSending() == nil {
		finish(&s.conn, &s.session.Session, how, s.fill)
	}
	s.ws.Close(code, reason)
	return nil
}

// rosterTime is time for a reading that is under way, and the next one.
const rosterTime = 2*engine.CallTime + time.Second

// Roster implements [session.Host].
func (s *socket) Roster(channel string, done func(*session.Roster, *wire.Error)) (stop func()) {
	ctx, cancel := context.WithTimeout(s.ctx, rosterTime)
	s.group.Go(func() error {
		defer cancel()
		switch r, err := s.rt.presence.rosters.Read(ctx, channel); {
		case err == nil:
			done(r, nil)
		case !errors.Is(ctx.Err(), context.Canceled): // else nobody waits for it
			done(nil, s.failed("members", publicError(err)))
		}
		return nil
	})
	return cancel
}

// Unreadable implements [session.Host].
func (s *socket) Unreadable(why *wire.Error) {
	s.conn.Cancel(&conns.Ending{Reason: why.Code, Retry: conns.RetryAfter(), Code: 4503})
}

// renewTime is how long a user stays present whose credentials have expired: a
// client may need 30 s for new ones, and some more to come back with them.
const renewTime = 35 * time.Second

// leaveAll ends, after a grace, the sessions that lived with the connection.
func (s *socket) leaveAll() {
	why, grace := presence.Timeout, s.rt.opts.Presence.DropGrace
	var end *conns.Ending
	var closed *wsconn.CloseError
	switch cause := context.Cause(s.ctx); {
	case errors.As(cause, &end):
		why = presence.Closed
		switch end {
		case conns.Revoked:
			grace = 0
		case conns.Expired:
			grace = max(s.rt.opts.Presence.DropGrace, renewTime)
		}
	case errors.As(cause, &closed) && slices.Contains([]int{1000, 1001, 1005}, closed.Code):
		why, grace = presence.Closed, s.rt.opts.Presence.CloseGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), engine.CallTime)
	defer cancel()
	defer context.AfterFunc(s.rt.running, cancel)() // Close does not wait for it
	var keys []presence.Key
	for _, m := range s.sessions.list() {
		keys = append(keys, m.Key)
	}
	s.rt.presence.endAll(ctx, keys, why, grace)
}
