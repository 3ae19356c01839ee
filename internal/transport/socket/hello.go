package socket

import (
	"net/http"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// hello greets the client, or refuses it and ends the connection where it is not
// let in.
func (s *socket) hello(op wire.Op) *wire.Error {
	if op.Op != "hello" {
		return wire.Errorf("hello_required", "the first operation is hello")
	}
	if !wire.ValidClientID(op.CID) {
		return wire.BadClientID(op.CID)
	}
	s.hasGreeted()
	if s.late || op.Token != "" {
		handshake := s.node.Conns.Begin()
		defer handshake.End()
		id, f := s.authenticate(&rights.Call{Handshake: handshake, Conn: &s.conn, Holds: true}, op.Token)
		if f == nil {
			f = s.node.Refusal(handshake.Identify(&s.conn, id.User))
		}
		if f != nil {
			s.answer(wire.ErrorFrame(op.Ref, s.node.Refused.Add(f.FromAddress(s.about.Address)).Error))
			s.refuseHello(f)
			return nil
		}
		s.id = &id
	}
	s.greeted, s.client = true, op.CID
	s.about.Identify(op.CID)
	s.stopExpiry = s.conn.Expire(s.id.Expires)
	limits := s.node.Limits
	frame := wire.Frame{
		Event: "hello", Src: wire.Tag(op.CID), UserID: s.id.User, Cursor: wire.Cursor(s.node.Ring.Head()),
		Limits: &wire.Limits{
			Message: limits.Message, Channels: limits.Channels, Metadata: limits.Metadata, Rate: limits.Rate, Burst: limits.Burst,
		},
		ExpiresIn: s.id.ExpiresIn(),
	}
	id := s.id
	s.do(func() {
		s.session.SetView(s.view(id))
		s.session.Answer(frame)
	})
	return nil
}

// authenticate tells who opened the connection, with a token, if there is one, as
// the bearer token of that request.
func (s *socket) authenticate(call *rights.Call, token string) (policy.Identity, *refused.Refusal) {
	ctx, end := call.Begin(s.life.Parent())
	defer end()
	r := s.opening.again(ctx, s.about.Address)
	if token != "" {
		// As in a header, where nobody keeps the space around a value (Fetch, "normalize").
		r.Header.Set("Authorization", "Bearer "+strings.Trim(token, "\t\n\r "))
	}
	return s.node.Policy.Identify(r)
}

// refuseHello ends the connection of a client that is not let in. The bye after the
// error tells it when to come back.
func (s *socket) refuseHello(f *refused.Refusal) {
	end := &conns.Ending{Reason: f.Code, Code: 4401}
	switch {
	case f.Retry:
		end.Code, end.Retry = 4503, conns.RetryAfter()
	case f.Status == http.StatusInternalServerError:
		end.Code, end.Retry = 1011, conns.RetryAfter()
	}
	s.do(func() { s.conn.Cancel(end) })
}

// renew gives a connection that is open the identity of a new token, which must
// be the same user's. What is refused changes nothing: the connection ends when
// its old identity expires.
//
// The policy is asked before deciding is taken, so that a slow Authenticate does
// not hold up Recheck; a Recheck in that time makes the client ask again. What the
// new identity may do is asked while the client goes on with it.
func (s *socket) renew(op wire.Op) *wire.Error {
	if op.Token == "" {
		return wire.Errorf("bad_request", "hello came before, and this one has no token")
	}
	handshake := s.node.Conns.Begin()
	defer handshake.End()
	if s.renewing.Swap(true) {
		return tooFast("more than %d renewal at a time", 1)
	}
	call := &rights.Call{Handshake: handshake, Conn: &s.conn}
	id, f := s.authenticate(call, op.Token)
	if f == nil {
		f = s.become(handshake, id)
	}
	if f != nil {
		s.renewing.Store(false)
		s.unspare(call, f)
		return f.Error
	}
	s.group.Go(func() {
		s.node.Rights.RecheckOnly(s.ctx, &s.conn)
		s.renewing.Store(false) // before the answer, after which the client may renew again
		s.answer(wire.Frame{Event: "ok", Ref: op.Ref, ExpiresIn: id.ExpiresIn()})
	})
	return nil
}

// unspare ends a connection that a Revoke within Authenticate has left to it, and
// whose renewal is refused.
func (s *socket) unspare(call *rights.Call, f *refused.Refusal) {
	switch {
	case !call.Spared():
	case f.Retry:
		s.conn.End(conns.Rotated)
	default:
		s.conn.End(conns.Revoked)
	}
}

// become gives the connection an identity of the same user.
func (s *socket) become(handshake *conns.Handshake, id policy.Identity) *refused.Refusal {
	if id.User != s.id.User {
		return refused.With(http.StatusForbidden, "user_mismatch", "the token is of another user")
	}
	s.decides()
	defer s.release()
	if f := s.node.Refusal(handshake.Identify(&s.conn, id.User)); f != nil {
		return f
	}
	s.stopExpiry()
	s.id, s.stopExpiry = &id, s.conn.Expire(id.Expires)
	s.do(func() { s.session.SetView(s.view(&id)) })
	return nil
}
