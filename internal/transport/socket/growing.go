package socket

import (
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// growing does an operation on a growing message.
func (s *socket) growing(op wire.Op) *wire.Error {
	switch {
	case !growing.ValidID(op.ID):
		return wire.Errorf("bad_request", "id %s is not 1 to %d bytes of text", wire.Quote(op.ID), growing.MaxID)
	case op.Offset != nil && (*op.Offset < 0 || op.Run == ""):
		return wire.Errorf("bad_request", `"offset" must be 0 or more, and comes with "run"`)
	}
	switch op.Op {
	case "stream":
		return s.follow(op)
	case "stop":
		return s.confirm(op, s.stop(op))
	default:
		s.do(func() { s.session.Unstream(op) })
		return nil
	}
}

// follow sends what there is of a growing message, and from then on what is added.
func (s *socket) follow(op wire.Op) *wire.Error {
	if err := s.allow(policy.Subscribe, op.Channel); err != nil {
		return err
	}
	ctx, cancel := s.within(bounded.CallTime)
	defer cancel()
	t, err := s.node.Growing.Follow(ctx, growing.Key{Channel: op.Channel, ID: op.ID})
	if err != nil {
		return s.notFollowed(op, err)
	}
	if t.IsPast() && s.node.Policy.AskHistory {
		if err := s.allow(policy.History, op.Channel); err != nil {
			return err
		}
	}
	s.charge(len(t.From(op.Place(t.Run)).Content))
	turn := s.turn
	s.do(func() { s.session.Grow(op, t, turn) })
	return nil
}

// operationBytes is what the answer to one operation may have: a page of history, of at
// most 256 KiB, counts as five.
const operationBytes = 64 << 10

// charge counts an answer of so many bytes as more operations than the one that it answers.
// The operation is done, so they are taken from those that follow.
func (s *socket) charge(bytes int) {
	s.pace.Charge(s.node.Limits.pace(), time.Now(), min(bytes/operationBytes, s.node.Limits.Burst))
}

// stop has the node that writes a growing message end it.
func (s *socket) stop(op wire.Op) *wire.Error {
	if err := s.permit(policy.Action{Verb: policy.Stop, Name: op.Channel, ID: op.ID}); err != nil {
		return err
	}
	ctx, cancel := s.within(bounded.CallTime)
	defer cancel()
	if err := s.node.Growing.Stop(ctx, growing.Key{Channel: op.Channel, ID: op.ID}); err != nil {
		return s.notFollowed(op, err)
	}
	return nil
}

// notFollowed turns an error about a growing message into what clients are told.
func (s *socket) notFollowed(op wire.Op, err error) *wire.Error {
	switch {
	case errors.Is(err, growing.ErrNotFound):
		return session.NoStream(op.ID)
	case errors.Is(err, growing.ErrBusy), errors.Is(err, growing.ErrTooMany): // it is told to try again, and nobody can do more
		return refused.Unavailable().Error
	}
	return s.failed(op.Op, bounded.Public(err))
}
