package realtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/live"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// maxEphemeral is the largest data of an ephemeral message, in bytes: many of them wait,
// and travel, together.
const maxEphemeral = 16 << 10

func (rt *Realtime) newSender() *live.Sender {
	s := live.New()
	s.Append, s.Rate, s.Others, s.Logger = rt.appendLive, rt.opts.Limits.Ephemeral, rt.growing.Outgoing, rt.log
	return s
}

// pass sends a message that is live only. It does not block.
func (rt *Realtime) pass(_ context.Context, ev backend.Event, a attribution) error {
	err := rt.toSender(ev, a)
	rt.tally.ephemeral.Inc(passOutcome(err))
	return err
}

func passOutcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	return "full"
}

func (rt *Realtime) toSender(ev backend.Event, a attribution) error {
	if len(ev.Data) > maxEphemeral {
		return fmt.Errorf("%w: %d bytes of at most %d, live only", ErrTooLarge, len(ev.Data), maxEphemeral)
	}
	g := rt.gate(a.depth)
	if !g.Enter() {
		return ErrClosed
	}
	defer g.Leave()
	ev = stamp(ev, a)
	ev.Key = match.TypeOf(ev.Data)
	err := rt.live.Publish(ev)
	if errors.Is(err, live.ErrFull) {
		return fault.Errorf("%w: %w", ErrTemporary, err)
	}
	return err
}

// appendLive appends what the sender has gathered.
func (rt *Realtime) appendLive(ctx context.Context, e backend.Entry) error {
	_, err := rt.backend.Append(ctx, e)
	return err
}

// badEphemeral refuses a publish that asks for what a live message cannot be.
func badEphemeral(op wire.Op) *wire.Error {
	switch {
	case !op.Ephemeral:
		return nil
	case op.ID != "":
		return wire.Errorf("bad_request", "an ephemeral message has no id")
	case len(op.Data) > maxEphemeral:
		return wire.Errorf("too_large", "an ephemeral message has at most %d bytes of data", maxEphemeral)
	}
	return nil
}
