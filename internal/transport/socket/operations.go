package socket

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/live"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/publish"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
	"golang.org/x/time/rate"
)

// read is the reader: it takes one operation after the other, decides it, and
// has it answered.
func (s *socket) read() error {
	for {
		msg, err := s.ws.Read()
		if err != nil {
			s.violated(err)
			return err
		}
		op, refused := wire.DecodeOp(msg)
		s.operations.Inc(op.Op)
		if refused == nil {
			refused = s.decide(op)
		}
		if s.ctx.Err() != nil {
			return nil
		}
		if refused != nil {
			s.node.Refused.Count(refused.Code)
			s.noteRefused(op, refused)
			s.answer(wire.ErrorFrame(op.Ref, refused))
			if !refused.Retry && !s.allowError() { // what can succeed later is no fault of the client
				return &wsconn.CloseError{Code: 1008, Reason: "too many errors"}
			}
		}
	}
}

// allowError reports whether the client may make one mistake more.
func (s *socket) allowError() bool {
	if s.errors == nil {
		s.errors = rate.NewLimiter(rate.Every(time.Minute/maxErrors), maxErrors-1)
	}
	return s.errors.Allow()
}

// noteRefused remembers an operation that was refused. Where the policy has refused it,
// allow knows why.
func (s *socket) noteRefused(op wire.Op, why *wire.Error) {
	if why.Code == "forbidden" {
		return
	}
	s.node.Refused.Remember(&refused.Refusal{Error: why, About: refused.About{
		User: s.id.User, Address: s.about.Address, Verb: op.Op, Name: op.Channel,
	}})
}

// admit reports whether the client, and its user, may send one frame more. Frames
// without an operation cost as well, and fragments more than whole messages.
func (s *socket) admit() bool {
	return s.flood.AllowN(s.node.Limits.flood(), time.Now(), 1) && s.conn.AllowFrame()
}

// violated logs which rule a client has broken, of which it is told.
func (s *socket) violated(err error) {
	var told *wsconn.CloseError
	if errors.As(err, &told) && !told.Peer {
		s.node.Logger.Debug("realtime: a WebSocket is closed", "code", told.Code, "reason", told.Reason, "user", s.id.User)
	}
}

// decide decides and does one operation. A check of the client's rights begins when it
// is done.
func (s *socket) decide(op wire.Op) *wire.Error {
	if s.greeted {
		if err := s.paced(op); err != nil {
			return err
		}
		if op.Op == "hello" {
			return s.renew(op)
		}
	}
	s.decides()
	defer s.release()
	if !s.greeted {
		return s.hello(op)
	}
	s.turn = s.session.Turn()
	return s.handle(op)
}

// paced refuses operations that come too fast.
func (s *socket) paced(op wire.Op) *wire.Error {
	limits, cost := s.node.Limits, 1
	if bytes := s.rewound.Load() / operationBytes * operationBytes; bytes > 0 { // of what comes with subscriptions
		s.rewound.Add(-bytes)
		s.charge(int(bytes))
	}
	if op.Op == "history" {
		cost = min(historyCost, limits.Burst)
	}
	switch {
	case !s.pace.AllowN(s.node.Limits.pace(), time.Now(), cost):
		return tooFast("more than %d operations a second", limits.Rate)
	case !s.conn.AllowOperation():
		return tooFast("more than %d operations a second of one user", limits.UserRate)
	}
	return nil
}

func tooFast(format string, limit int) *wire.Error {
	err := wire.Errorf("rate_limited", format, limit)
	err.Retry = true
	return err
}

// handle does one operation, if it is allowed. What it refuses changes nothing.
func (s *socket) handle(op wire.Op) *wire.Error {
	if op.CID == "" {
		op.CID = s.client
	}
	switch op.Op {
	case "ping":
		s.answer(wire.Frame{Event: "ok", Ref: op.Ref})
		return nil
	case "subscribe", "unsubscribe", "history", "publish", "join", "update", "leave", "stream", "unstream", "stop":
	default:
		return wire.Errorf("unknown_op", "%s is no operation", wire.Quote(op.Op))
	}
	if !wire.ValidChannel(op.Channel) {
		return wire.BadChannel(op.Channel)
	}
	if !wire.ValidClientID(op.CID) {
		return wire.BadClientID(op.CID)
	}
	switch op.Op {
	case "subscribe":
		return s.subscribe(op)
	case "unsubscribe":
		s.do(func() { s.session.Unsubscribe(op) })
		return nil
	case "history":
		return s.history(op)
	case "publish":
		return s.confirm(op, s.publish(op))
	case "stream", "unstream", "stop":
		return s.growing(op)
	default:
		return s.confirm(op, s.member(op))
	}
}

// confirm answers an operation that was done.
func (s *socket) confirm(op wire.Op, err *wire.Error) *wire.Error {
	if err == nil {
		s.answer(wire.Frame{Event: "ok", Ref: op.Ref})
	}
	return err
}

func (s *socket) allow(verb string, channel string) *wire.Error {
	return s.permit(policy.Action{Verb: verb, Name: channel})
}

// permit asks the policy about an action. The policy has a deadline of its own.
func (s *socket) permit(a policy.Action) *wire.Error {
	call := &rights.Call{Conn: &s.conn, Holds: true}
	ctx, end := call.Begin(s.life.Parent())
	defer end()
	f := s.node.Policy.Permit(ctx, *s.id, a)
	if f == nil {
		return nil
	}
	if f.Code == "forbidden" { // others are noted by the reader
		s.node.Refused.Remember(f.FromAddress(s.about.Address))
	}
	return f.Error
}

// subscribe begins a subscription.
func (s *socket) subscribe(op wire.Op) *wire.Error {
	back, err := op.Back(s.node.Limits.Page)
	if err == nil && back.Messages > 0 {
		s.node.Publisher.Settle(s.ctx) // so that the past has what this client has just published
	}
	if err == nil {
		err = s.allow(policy.Subscribe, op.Channel)
	}
	if err == nil && back.Messages > 0 && s.node.Policy.AskHistory {
		err = s.allow(policy.History, op.Channel)
	}
	if err != nil {
		return err
	}
	turn := s.turn
	s.begins++
	s.do(func() {
		s.session.Subscribe(op, session.Rewind{Back: back, Older: s.node.Past.Older != nil}, turn)
		s.begun.Add(1)
	})
	return nil
}

// hasBegun waits until the subscriptions that the client has asked for have begun. It
// returns false if the connection ends before that.
func (s *socket) hasBegun() bool {
	if s.begun.Load() == s.begins {
		return true
	}
	done := make(chan struct{})
	s.session.Do(func() { close(done) }) // after they have
	select {
	case <-done:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// publish sends a message. A client's id for it is its own: it cannot take
// another client's message for a repetition.
func (s *socket) publish(op wire.Op) *wire.Error {
	if len(op.Data) == 0 {
		return wire.Errorf("bad_request", "data is missing")
	}
	if len(op.ID) > 64 {
		return wire.Errorf("too_large", "id is longer than 64 bytes")
	}
	if bad := op.CheckEphemeral(); bad != nil {
		return bad
	}
	if err := s.allow(policy.Publish, op.Channel); err != nil {
		return err
	}
	// A client that subscribes and then publishes gets its message.
	if !s.hasBegun() {
		return s.failed("publish", bounded.ErrClosed)
	}
	from := publish.Origin{User: s.id.User, Client: op.CID}
	if op.ID != "" {
		from.ID = wire.Tag(strings.Join([]string{op.CID, s.id.User, op.Channel, op.ID}, "\n"))
	}
	ctx, cancel := s.within(bounded.CallTime)
	defer cancel()
	ev := publish.Message(op.Channel, op.Data)
	var err error
	if op.Ephemeral {
		err = s.node.Publisher.Pass(ev, from)
	} else {
		_, err = s.node.Publisher.Append(ctx, ev, from)
	}
	if err != nil {
		return s.failed("publish", bounded.Public(err))
	}
	s.touch(ctx, op)
	return nil
}

// failed turns an error of the backend into what clients are told.
func (s *socket) failed(what string, err error) *wire.Error {
	if errors.Is(err, bounded.ErrClosed) {
		if s.node.Conns.IsClosed() { // the client goes to another server now, and does it there
			s.conn.Cancel(conns.Closing(s.node.Ring.Head(), conns.RetryAfter()))
		}
		e := wire.Errorf("closing", "the server is going away")
		e.Retry = true
		return e
	}
	if errors.Is(err, refused.ErrTooLarge) { // the engine takes less than the limits permit
		s.node.Logger.Warn("realtime: the engine takes less than Options.Limits permit; an operation is refused", "operation", what, "error", err)
		return wire.Errorf("too_large", "larger than the engine of the server takes")
	}
	if s.ctx.Err() == nil && !errors.Is(err, live.ErrFull) { // else nobody waits for it, or it is no fault
		s.node.Logger.Error("realtime: an operation of a client failed", "operation", what, "error", err)
	}
	return refused.Unavailable().Error
}

// member joins, updates or leaves.
func (s *socket) member(op wire.Op) *wire.Error {
	user := op.UserID
	if user == "" {
		user = s.id.User
	}
	switch {
	case user == "":
		return wire.Errorf("bad_request", "userId is missing")
	case !wire.ValidName(user):
		return wire.Errorf("bad_request", "%s is no user id: that %s", wire.Quote(user), wire.NameRule)
	case !s.id.MayBe(user):
		return notYou(user)
	case len(op.Metadata) > s.node.Limits.Metadata:
		return wire.Errorf("too_large", "metadata is larger than %d bytes", s.node.Limits.Metadata)
	}
	if s.name == "" {
		s.name = rand.Text()
	}
	tag := wire.Tag(op.CID)
	session := presence.Session{
		Key:      presence.Key{Channel: op.Channel, User: user, ID: "socket." + s.name + "." + tag},
		Metadata: op.Metadata, Source: tag,
	}
	joined, n := s.sessions.has(session.Key)
	if op.Op == "leave" {
		return s.leave(session, joined)
	}
	switch {
	case op.Op == "update" && !joined:
		return wire.Errorf("not_joined", "join comes before update")
	case !joined && n >= s.node.Limits.Channels:
		return wire.Errorf("channel_limit", "present more than %d times", s.node.Limits.Channels)
	}
	if err := s.allow(policy.Join, op.Channel); err != nil {
		return err
	}
	s.sessions.set(membership{session, s.turn}) // also where join fails: it has perhaps joined
	ctx, cancel := s.within(bounded.CallTime)
	defer cancel()
	if err := s.node.Members.Join(ctx, session); err != nil {
		return s.failed("join", err)
	}
	return nil
}

func notYou(user string) *wire.Error {
	return wire.Errorf("user_mismatch", "%s is not who you are", wire.Quote(user))
}

// leave ends what the client has joined over this connection, and what is left of
// its earlier ones.
func (s *socket) leave(session presence.Session, joined bool) *wire.Error {
	p := s.node.Members
	ctx, cancel := s.within(bounded.CallTime)
	defer cancel()
	p.EndAll(ctx, p.Presence.Leaving(session.Channel, session.User, session.Source), presence.Left, 0)
	if !joined {
		return nil
	}
	if err := p.Leave(ctx, session.Key, presence.Departure{Why: presence.Left}); err != nil {
		return s.failed("leave", err)
	}
	s.sessions.remove(session.Key)
	return nil
}

// touchTime is how long the answer to a publish waits for its touch.
const touchTime = 500 * time.Millisecond

// touch moves the lastSeen of the members that are this client.
func (s *socket) touch(ctx context.Context, op wire.Op) {
	ctx, cancel := context.WithTimeout(ctx, touchTime)
	defer cancel()
	tag := wire.Tag(op.CID)
	for _, m := range s.sessions.list() {
		if m.Channel == op.Channel && m.Source == tag {
			s.node.Members.Touch(ctx, m.Channel, m.User)
		}
	}
}
