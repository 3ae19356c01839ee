package socket

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/tcp"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/socket/slots"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
	"golang.org/x/time/rate"
)

// MessageTime is the time for the hello, for a message that makes no progress, and for the
// answer to a ping.
const MessageTime = 10 * time.Second

// maxErrors is how many errors a client may make in a minute: the last of them ends the
// connection.
const maxErrors = 20

// upgrade takes the connection over and answers the handshake. It returns nil where that
// fails.
func (s *socket) upgrade(w http.ResponseWriter, r *http.Request) net.Conn {
	conn, rw, missing := httpwriter.Hijack(w)
	if missing != nil {
		s.node.RefuseWriter(w, missing)
		return nil
	}
	tcp.Tune(conn, true, s.node.WriteTimeout)
	ws, err := wsconn.Accept(conn, rw, r, w.Header(), wsconn.Options{
		Subprotocol: wire.Subprotocol, ReadLimit: s.node.Limits.Message,
		Patience: MessageTime, WriteTime: s.node.WriteTimeout, Admit: s.admit,
	})
	if err != nil {
		return nil // the client is gone
	}
	s.ws = ws
	s.sent = s.tally.Open()
	return conn
}

// remove is the last of a connection that was added.
func (s *socket) remove() {
	if s.ws != nil {
		s.tally.Close(s.life.Cause())
	}
	s.conn.Cancel(nil)
	s.node.Conns.Remove(&s.conn)
}

// socket drives a [session.Channels] over a WebSocket. One goroutine reads and decides,
// another one writes: that of the handler and one of the connection's own, or, where
// there is a task, one that lives while there is something to read, and a shard's.
// Whatever changes what is written is done by the writer, in the session.
type socket struct {
	sharded
	*Driver
	opening opening
	ctx     context.Context // is life
	life    conns.Context   // ends with a *conns.Ending, *wsconn.CloseError or other error
	conn    conns.Conn
	ws      *wsconn.Conn
	name    string // in session keys; "" until there is one: see socket.member
	group   sync.WaitGroup
	asking  atomic.Bool // whether the client is there
	session *session.Channels
	bell    session.Bell
	answers slots.Slots // one for each answer that waits for the writer

	deciding slots.Slots   // the one is taken while an operation is decided and done
	again    atomic.Bool   // all is to be checked by who gives deciding back
	checks   atomic.Uint64 // how often all was, or is being, checked
	sessions memberships
	renewing atomic.Bool // the rights of a new identity are being checked

	// the reader's, who holds deciding while it changes them
	turn       uint64           // of the operation: see session.Session.Turn
	id         *policy.Identity // which does not change: the view has it as well
	late       bool             // authenticated with the hello
	greeted    bool
	helloLate  *time.Timer // ends the connection of a client that does not greet; nil: it has
	stopExpiry func() bool
	client     string
	pace       conns.Bucket    // beyond it operations are refused
	flood      conns.Bucket    // of frames: beyond it the connection is closed
	errors     *rate.Limiter   // nil: there was none
	begins     uint64          // subscriptions that were asked for
	paged      <-chan struct{} // closed when the last page of history was sent

	begun   atomic.Uint64   // subscriptions that the writer has begun
	rewound atomic.Int64    // bytes of messages that came with them, and are not charged yet
	buf     *session.Buffer // the writer's; nil while there is nothing to say
	about   conns.Card
	sent    *driver.Share
}

// already is closed.
var already = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// FloodFactor times the allowed rate of operations, frames cost too much.
const FloodFactor = 4

// answersAtOnce is how many answers may wait for a client that does not read.
const answersAtOnce = 16

func (d *Driver) newSocket(w http.ResponseWriter, r *http.Request) *socket {
	s := &socket{
		Driver: d, opening: keepRequest(r), id: &nobody, late: isLate(r.URL.RawQuery),
		paged: already, stopExpiry: func() bool { return false },
	}
	if d.takes(w, r) {
		s.task = d.node.Shards.NewTask(s)
	} else {
		s.bell = session.NewBell()
	}
	s.session = session.NewChannels(d.node.Ring, s.wake, s, s.view(s.id), d.node.Limits.Channels)
	s.about.Fill("websocket", r)
	s.life.Begin(valuesOf(r))
	s.ctx, s.conn.Cancel = &s.life, s.cancel
	s.conn.Recheck, s.conn.Owner = s.recheck, s
	return s
}

// isLate reports whether a query says that the client authenticates with its hello. Most
// have no such name, which is seen without parsing them.
func isLate(query string) bool {
	if !strings.Contains(query, "auth") && !strings.Contains(query, "%") {
		return false
	}
	values, _ := url.ParseQuery(query) // what is well-formed of it
	return values.Get("auth") == "hello"
}

// nobody is who is not known yet.
var nobody policy.Identity

// within returns a context for what may take so long, and not longer than the connection.
func (s *socket) within(time time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.life.Parent(), time)
}

// cancel ends the connection. The first reason counts.
func (s *socket) cancel(why error) {
	s.life.End(why)
	s.wake()
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
func (s *socket) view(id *policy.Identity) *policy.View { return s.node.Policy.View(id, nil) }

func (s *socket) run() {
	s.conn.OnAbort(s.ws.Drop)
	defer s.session.Close()
	s.group.Go(func() {
		sound := s.step(s.write)
		s.step(func() error { return s.close(sound) })
		s.ws.Drop() // where nothing has closed it
		s.conn.Silence()
	})
	s.expectHello()
	s.step(s.read)
	s.ws.Discard() // for the closing handshake
	s.settle()
}

// expectHello ends the connection unless its client greets in time.
func (s *socket) expectHello() {
	s.helloLate = time.AfterFunc(MessageTime, func() { s.conn.Cancel(conns.NoHello) })
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
	s.group.Wait()
	s.stopExpiry()
	s.leaveAll()
}

// step runs f, and reports whether it returned. An error ends the connection, and so does a
// panic, which is a fault in the host's policy or in this library.
func (s *socket) step(f func() error) (sound bool) {
	switch err := conns.Guard(s.node.Logger, f); {
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
	if room := s.answers.Take(answersAtOnce); room != nil {
		select {
		case <-room:
		case <-s.ctx.Done():
			s.answers.Cancel(room)
			return
		}
	}
	s.session.Do(func() {
		s.answers.Give()
		f()
	})
}

func (s *socket) answer(f wire.Frame) { s.do(func() { s.session.Answer(f) }) }

// write is the writer.
func (s *socket) write() error {
	ping := time.NewTicker(s.node.Heartbeat)
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
	s.told(time.Now())
	if !more {
		s.buf.Release()
		s.buf = nil
	}
	return more, nil
}

// told counts what was written: now, or now began a write that did not block.
func (s *socket) told(now time.Time) {
	s.tally.Sent(s.sent, s.buf, now)
	if n := s.buf.Told.Past; n > 0 {
		s.rewound.Add(int64(n))
	}
	for _, code := range s.buf.Told.Errors {
		s.node.Refused.Count(code)
	}
}

// transmit writes messages. It ends by WriteTimeout or Drop.
func (s *socket) transmit(buf *session.Buffer) (err error) {
	s.sent.Wait(&s.conn, true)
	defer s.sent.Wait(&s.conn, false)
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
	s.group.Go(func() {
		defer s.asking.Store(false)
		switch err := s.ws.Ping(s.ctx); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.conn.Cancel(driver.ErrNoPong)
			s.ws.Drop() // nobody is there to say goodbye to
		case err != nil:
			s.conn.Cancel(err)
		}
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
	switch cause := s.life.Cause(); {
	case errors.As(cause, &end):
		code, reason = end.Code, end.Reason
		how = driver.LastWords(end)
	case errors.As(cause, &told): // the error that leads to it is an answer
		code, reason = told.Code, told.Reason
	default: // nobody is there
		return nil
	}
	if sound && s.finishSending() == nil {
		driver.Finish(&s.conn, &s.session.Session, how, s.fill)
	}
	s.ws.Close(code, reason)
	return nil
}

// rosterTime is time for a reading that is under way, and the next one.
const rosterTime = 2*bounded.CallTime + time.Second

// Roster implements [session.Host].
func (s *socket) Roster(channel string, done func(*session.Roster, *wire.Error)) (stop func()) {
	ctx, cancel := s.within(rosterTime)
	s.group.Go(func() {
		defer cancel()
		switch r, err := s.node.Rosters.Read(ctx, channel); {
		case err == nil:
			done(r, nil)
		case !errors.Is(ctx.Err(), context.Canceled): // else nobody waits for it
			done(nil, s.failed("members", bounded.Public(err)))
		}
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
	why, grace := presence.Timeout, s.node.DropGrace
	var end *conns.Ending
	var closed *wsconn.CloseError
	switch cause := s.life.Cause(); {
	case errors.As(cause, &end):
		why = presence.Closed
		switch end {
		case conns.Revoked:
			grace = 0
		case conns.Expired:
			grace = max(s.node.DropGrace, renewTime)
		}
	case errors.As(cause, &closed) && slices.Contains([]int{1000, 1001, 1005}, closed.Code):
		why, grace = presence.Closed, s.node.CloseGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), bounded.CallTime)
	defer cancel()
	defer context.AfterFunc(s.node.Running, cancel)() // Close does not wait for it
	var keys []presence.Key
	for _, m := range s.sessions.list() {
		keys = append(keys, m.Key)
	}
	s.node.Members.EndAll(ctx, keys, why, grace)
}
