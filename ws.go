package realtime

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	messageTime = 10 * time.Second // for the hello, a message that makes no progress, the answer to a ping
	maxErrors   = 20               // a minute: the last of them ends the connection
	floodFactor = 4                // times the allowed rate of operations, frames cost too much
)

// serveWebSocket checks a request for a WebSocket and runs it.
func (rt *Realtime) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	f := rt.admit(r)
	if f == nil {
		f = checkHandshake(w, r)
	}
	if f != nil {
		f.write(w)
		return
	}
	if missing := checkHijack(w, r); missing != nil {
		missing.refuse(rt, w)
		return
	}
	s := &socket{
		rt: rt, request: r, name: rand.Text(), late: r.URL.Query().Get("auth") == "hello",
		todo: make(chan func(), 16), deciding: make(chan struct{}, 1), stopExpiry: func() bool { return false }, channels: make(map[string]following),
		renewing: make(chan struct{}, 1), begun: make(chan struct{}),
		pace:   rate.NewLimiter(rate.Limit(rt.opts.Limits.Rate), rt.opts.Limits.Burst),
		flood:  rate.NewLimiter(rate.Limit(floodFactor*rt.opts.Limits.Rate), floodFactor*rt.opts.Limits.Burst),
		errors: rate.NewLimiter(rate.Every(time.Minute/maxErrors), maxErrors-1),
		view:   view{policy: &rt.policy},
	}
	s.conn.recheck = s.recheck
	arriving := rt.conns.arrive()
	defer arriving.gone()
	if !s.late {
		id, f := arriving.authenticate(rt, r)
		if f != nil {
			f.write(w)
			return
		}
		s.id = id
	}
	s.ctx, s.conn.cancel = context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer s.conn.cancel(nil)
	if f := arriving.add(&s.conn, s.id.User); f != nil {
		f.write(w)
		return
	}
	arriving.gone()
	defer rt.conns.remove(&s.conn)
	conn, rw, missing := hijack(w)
	if missing != nil {
		missing.refuse(rt, w)
		return
	}
	tune(conn, true)
	ws, err := wsconn.Accept(conn, rw, r, w.Header(), wsconn.Options{
		Subprotocol: wire.Subprotocol, ReadLimit: rt.opts.Limits.Message,
		Patience: messageTime, WriteTime: rt.opts.WriteTimeout, Admit: s.admit,
	})
	if err != nil {
		return // the client is gone
	}
	s.ws = ws
	close(s.begun)
	s.run()
}

// socket is one WebSocket. The handler's goroutine reads and decides, another
// one writes. Whatever changes what is written, subscriptions as well as
// answers, goes to the writer through todo, and so keeps its place among the
// events.
type socket struct {
	rt      *Realtime
	request *http.Request   // that opened it, for the policy
	ctx     context.Context // ends with an *ending, *wsconn.CloseError or other error
	conn    conn
	ws      *wsconn.Conn
	name    string // in session keys
	group   errgroup.Group
	asking  atomic.Bool // whether the client is there
	todo    chan func()

	deciding chan struct{} // holds one while an operation is decided and done
	again    atomic.Bool   // all is to be checked by who gives deciding back
	turns    atomic.Uint64 // of what asks the policy, in the order they begin
	sessions memberships
	renewing chan struct{} // holds one while the rights of a new identity are checked

	// the reader's, who holds deciding while it changes them
	turn       uint64 // of the operation
	id         Identity
	late       bool // authenticated with the hello
	greeted    bool
	stopExpiry func() bool
	client     string
	pace       *rate.Limiter // beyond it operations are refused
	flood      *rate.Limiter // of frames: beyond it the connection is closed
	errors     *rate.Limiter
	begun      chan struct{} // closed when the last subscription asked for has begun

	// the writer's
	view     view // its identity is set with the hello
	reader   *ring.Reader
	channels map[string]following // the subscribed ones
	out      []byte
	items    []ring.Item
	pos      backend.Position // all channels but those that are held are complete up to here
	ahead    backend.Position // and some up to here, while another is replayed
	holds    int              // channels that wait for their roster
	parts    []*showing       // rosters being sent
}

// following is how a socket follows a channel.
type following struct {
	presence bool             // with presence events,
	known    backend.Position // of which the roster had those up to here
	showing  *showing         // the roster on its way; until it has come the channel is held
	turn     uint64           // when it was allowed last: see socket.turns
}

func (s *socket) run() {
	s.conn.onAbort(s.ws.Drop)
	s.reader = s.rt.ring.NewReader()
	s.pos = s.rt.ring.Head()
	defer s.reader.Close()
	s.group.Go(func() error {
		s.guard(s.write)
		s.guard(s.close)
		s.ws.Drop() // where nothing has closed it
		return nil
	})
	hello := time.AfterFunc(messageTime, func() {
		s.conn.cancel(noHello)
	})
	defer hello.Stop()
	s.guard(func() error { return s.read(hello) })
	s.ws.Discard()     // for the closing handshake
	_ = s.group.Wait() // the errors are in the context
	s.stopExpiry()
	s.leaveAll()
}

// guard runs f, whose error ends the connection. So does a panic, which is a
// fault in the host's policy or in this library.
func (s *socket) guard(f func() error) {
	defer func() {
		if v := recover(); v != nil {
			s.rt.log.Error("realtime: panic; the connection is dropped", "panic", v, "stack", string(debug.Stack()))
			s.conn.cancel(&wsconn.CloseError{Code: 1011, Reason: "internal error"})
		}
	}()
	s.conn.cancel(f())
}

// do hands f to the writer. It waits while the writer is behind, which makes a
// client that does not read its answers wait with its questions.
func (s *socket) do(f func()) {
	select {
	case s.todo <- f:
	case <-s.ctx.Done():
	}
}

func (s *socket) answer(f wire.Frame) { s.do(func() { s.append(f) }) }

// write is the writer.
func (s *socket) write() error {
	ping := time.NewTicker(s.rt.opts.Heartbeat)
	defer ping.Stop()
	for s.ctx.Err() == nil {
		more, err := s.deliver()
		if err != nil {
			return err
		}
		part, err := s.sendPart()
		if err != nil {
			return err
		}
		if more || part {
			continue
		}
		select {
		case f := <-s.todo:
			f()
		case <-s.reader.Wake():
		case <-ping.C:
			s.ping()
		case <-s.ctx.Done():
		}
	}
	return nil
}

// deliver writes what there is to say: answers, and a batch of events.
func (s *socket) deliver() (more bool, err error) {
	if err := s.answers(); err != nil {
		return false, err
	}
	s.items, s.pos, more = s.reader.Next(s.items[:0], ring.Batch)
	s.ahead = later(s.ahead, s.pos)
	for _, it := range s.items {
		if it.Entry != nil {
			s.event(it.Entry)
		} else {
			s.reset(it)
		}
		if len(s.out) >= burst {
			if err := s.flush(); err != nil {
				return false, err
			}
		}
	}
	clear(s.items)
	if !more {
		s.items = release(s.items, idleItems)
	}
	return more, s.flush()
}

// answers does what the reader has handed over so far.
func (s *socket) answers() error {
	for range cap(s.todo) {
		select {
		case f := <-s.todo:
			f()
		default:
			return nil
		}
		if len(s.out) >= burst {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *socket) event(e *ring.Entry) {
	if s.holds > 0 && s.channels[e.Event.Channel].showing != nil {
		return // a reset in this batch holds it: it is read again
	}
	if e.Event.Resource == "presence" {
		if f := s.channels[e.Event.Channel]; !f.presence || e.Pos.Compare(f.known) <= 0 {
			return
		}
	}
	if !s.view.Channel(&e.Event) {
		return
	}
	s.separate()
	s.out = append(s.out, e.Encoded(ring.FormChannel, wire.Channel)...)
}

// reset says that something of a channel was missed, and who is there now, both at
// once: a client that is told one alone would go on from there with the roster it
// had.
func (s *socket) reset(it ring.Item) {
	channel := it.Topic.Name
	frame := wire.Frame{Event: "reset", Channel: channel, Reason: string(it.Reason), Cursor: wire.Cursor(it.Pos)}
	if s.channels[channel].presence {
		s.show(&showing{channel: channel, held: it.Pos, reset: &frame, must: true})
	} else {
		s.append(frame)
	}
}

func (s *socket) append(f wire.Frame) {
	s.separate()
	s.out = f.Append(s.out)
}

func (s *socket) separate() {
	if len(s.out) > 0 {
		s.out = append(s.out, '\n')
	}
}

// burst is how many bytes are collected before they are written.
const burst = 64 << 10

func (s *socket) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	err := s.transmit(s.out)
	s.out = release(s.out, idleBytes)
	return err
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

func (s *socket) transmit(msg []byte) error {
	s.conn.writing.Store(true)
	defer s.conn.writing.Store(false)
	return s.ws.Write(msg) // ends by WriteTimeout or Drop
}

// cursor is what the client may hand back for every channel: "" while that would
// repeat events of some of them.
func (s *socket) cursor() string {
	if s.holds > 0 || s.pos.Compare(s.ahead) < 0 {
		return ""
	}
	return wire.Cursor(s.pos)
}

func later(p, q backend.Position) backend.Position {
	if p.Compare(q) < 0 {
		return q
	}
	return p
}

// ping tells the client's script that the connection lives, and asks the
// client's WebSocket whether it does.
func (s *socket) ping() {
	s.append(wire.Frame{Event: "ping", Cursor: s.cursor(), TS: time.Now().UnixMilli()})
	if !s.asking.CompareAndSwap(false, true) {
		return // a slow client has not come to the last one
	}
	s.group.Go(func() error {
		defer s.asking.Store(false)
		if err := s.ws.Ping(s.ctx); err != nil {
			s.conn.cancel(err)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.ws.Drop() // nobody is there to say goodbye to
			}
		}
		return nil
	})
}

// close ends the connection the way its context ended.
func (s *socket) close() error {
	var end *ending
	var told *wsconn.CloseError
	switch cause := context.Cause(s.ctx); {
	case errors.As(cause, &end):
		s.abandon()
		for more := end.rest != (backend.Position{}); more; {
			var err error
			more, err = s.deliver() // answers as well, so once in any case
			more = more && err == nil && !s.conn.over(s.ctx, s.pos)
		}
		retry := end.retry.Milliseconds()
		s.append(wire.Frame{Event: "bye", Reason: end.reason, RetryMs: &retry, Cursor: s.cursor()})
		_ = s.flush() // the client is gone, or is told
		s.ws.Close(end.code, end.reason)
	case errors.As(cause, &told):
		if s.answers() == nil { // the error that leads to it among them
			_ = s.flush()
		}
		s.ws.Close(told.Code, told.Reason)
	}
	return nil
}

// subscribe is what the writer does for an allowed subscribe.
func (s *socket) subscribe(op wire.Op, turn uint64) {
	frame := wire.Frame{Event: "subscribed", Ref: op.Ref, Channel: op.Channel, State: string(ring.Resumed)}
	f, again := s.channels[op.Channel]
	f.turn = max(f.turn, turn)
	switch {
	case again: // without a cursor: a replay may be under way
	case len(s.channels) >= s.rt.opts.Limits.Channels:
		s.append(wire.ErrorFrame(op.Ref, wire.Errorf("channel_limit", "more than %d channels", s.rt.opts.Limits.Channels)))
		return
	default:
		start := s.reader.Subscribe(wire.Since(op.Since), ring.Channel(op.Channel))
		frame.State, frame.Reason, frame.Cursor = string(start.State), string(start.Reason), wire.Cursor(start.Pos)
		s.ahead = later(s.ahead, start.Pos)
		if start.Pos.Compare(s.pos) < 0 {
			s.pos = start.Pos // what is between has to be read again, for this channel
		}
	}
	if op.Presence && (again || frame.State != string(ring.Resumed)) {
		// The roster is read after the place where the events begin, so that no change
		// escapes both.
		s.channels[op.Channel] = f
		s.show(&showing{channel: op.Channel, answers: []pending{{frame, !again}}})
		return
	}
	if f.showing != nil && f.showing.reset != nil { // without presence it needs no roster
		s.append(*f.showing.reset)
	}
	s.proceed(op.Channel)
	s.channels[op.Channel] = following{presence: op.Presence, known: f.known, turn: f.turn}
	s.append(frame)
}

func (s *socket) unsubscribe(op wire.Op) {
	s.drop(op.Channel)
	s.append(wire.Frame{Event: "ok", Ref: op.Ref})
}

// renewTime is how long a user stays present whose credentials have expired: a
// client may need 30 s for new ones, and some more to come back with them.
const renewTime = 35 * time.Second

// leaveAll ends, after a grace, the sessions that lived with the connection.
func (s *socket) leaveAll() {
	why, grace := presence.Timeout, s.rt.opts.Presence.DropGrace
	var end *ending
	var closed *wsconn.CloseError
	switch cause := context.Cause(s.ctx); {
	case errors.As(cause, &end):
		why = presence.Closed
		switch end {
		case revoked:
			grace = 0
		case outdated:
			grace = max(s.rt.opts.Presence.DropGrace, renewTime)
		}
	case errors.As(cause, &closed) && slices.Contains([]int{1000, 1001, 1005}, closed.Code):
		why, grace = presence.Closed, s.rt.opts.Presence.CloseGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), callTime)
	defer cancel()
	defer context.AfterFunc(s.rt.running, cancel)() // Close does not wait for it
	var keys []presence.Key
	for _, m := range s.sessions.list() {
		keys = append(keys, m.Key)
	}
	s.rt.presence.endAll(ctx, keys, why, grace)
}

// retryAfter spreads the return of clients that are sent away for a moment.
func retryAfter() time.Duration { return time.Second + mathrand.N(4*time.Second) }
