package past

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/timely"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// maxLeft bounds the abandoned calls of a host.
const maxLeft = 1024

// Older is a function as [Reader].Older.
type Older func(ctx context.Context, channel, before string, limit int) ([]Message, error)

// Host asks a host for messages that have left the history. Its methods may be called
// concurrently.
type Host struct {
	older   Older
	calls   *timely.Calls
	running context.Context
	closed  error
}

// NewHost returns a Host that asks until running ends. closed is the error from then on.
func NewHost(running context.Context, closed error, log *slog.Logger, older Older) *Host {
	return &Host{older: older, running: running, closed: closed, calls: timely.New(maxLeft, func(p *timely.Panicked) {
		log.Error("realtime: panic in a call of History.Older that had been given up", "panic", p.Value, "stack", string(p.Stack))
	})}
}

// Wait returns when no call is running, or with the error of ctx.
func (h *Host) Wait(ctx context.Context) error { return h.calls.Wait(ctx) }

// Older is [Reader].Older: it asks the host, and checks what it returns. Errors beside the
// host's: [bounded.ErrTemporary] if it did not return in time, that of a node that has ended, and
// [refused.ErrBadEvent] for what the host has returned.
func (h *Host) Older(ctx context.Context, channel, before string, limit int) ([]Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.running, cancel)()
	list, err := timely.Do(ctx, h.calls, func(ctx context.Context) ([]Message, error) { return h.older(ctx, channel, before, limit) })
	switch {
	case err != nil && h.running.Err() != nil:
		return nil, h.closed
	case errors.Is(err, timely.ErrBusy), errors.Is(err, timely.ErrLeft), err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fault.Errorf("%w: History.Older did not return in time: %w", bounded.ErrTemporary, err)
	case err != nil:
		return nil, fault.Errorf("realtime: History.Older: %w", err)
	}
	for i, m := range list {
		if err := m.settle(channel); err != nil {
			return nil, fault.Errorf("realtime: History.Older: message %d of %d: %w", i+1, len(list), err)
		}
	}
	return list, nil
}

// settle fills in what the host may leave out of a message of a channel, and reports
// what makes it none.
func (m Message) settle(channel string) error {
	ev := m.Event
	ev.Type, ev.Resource = cmp.Or(ev.Type, backend.Message), cmp.Or(ev.Resource, backend.Realtime)
	ev.Channel = cmp.Or(ev.Channel, channel)
	switch {
	case m.Cursor == "" || !wire.ValidText(m.Cursor):
		return fmt.Errorf("%w: cursor %s", refused.ErrBadEvent, wire.Quote(m.Cursor))
	case ev.Type != backend.Message || ev.Resource != backend.Realtime || ev.Channel != channel:
		return fmt.Errorf("%w: not a message of the channel", refused.ErrBadEvent)
	case !wire.ValidText(ev.User) || !wire.ValidText(ev.Source):
		return fmt.Errorf("%w: user or source", refused.ErrBadEvent)
	case len(ev.Data) > wire.MaxData:
		return fmt.Errorf("%w: %d bytes of data", refused.ErrBadEvent, len(ev.Data))
	}
	data, err := wire.Compact(ev.Data)
	if err != nil {
		return fault.Errorf("%w: data: %w", refused.ErrBadEvent, err)
	}
	ev.Data = data
	return nil
}
