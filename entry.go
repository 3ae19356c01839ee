package realtime

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// defaultPublish is the default of Limits.Publish.
const defaultPublish = 1 << 20

// MessageEntry returns what [Realtime.Publish] would append to the log. It is for
// packages such as postgres, which store it in a transaction first and append it when
// that has committed. Data may have 1 MiB. Errors are those of Publish that do not
// come from the backend, and [ErrBadOption] for [PublishedAt] and [Ephemeral]: there is
// no position yet, and what is stored is not live only.
func MessageEntry(ctx context.Context, channel string, data any, opts ...EventOption) (backend.Entry, error) {
	ev, a, err := newMessage(ctx, defaultPublish, channel, data, opts)
	return toAppendLater(ev, a, err)
}

// EventEntry returns what [Realtime.Emit] would append to the log: see [MessageEntry].
func EventEntry(ctx context.Context, ev RenEvent, opts ...EventOption) (backend.Entry, error) {
	event, a, err := newEvent(ctx, defaultPublish, ev, opts)
	return toAppendLater(event, a, err)
}

func toAppendLater(ev backend.Event, a attribution, err error) (backend.Entry, error) {
	for _, name := range []string{"PublishedAt", "Ephemeral"} {
		if err == nil && slices.Contains(a.given, name) {
			err = fmt.Errorf("%w: %s, of an event that is appended later", ErrBadOption, name)
		}
	}
	if err != nil {
		return backend.Entry{}, err
	}
	return entry(ev, a), nil
}

// newMessage returns a message and what it is attributed to.
func newMessage(ctx context.Context, limit int, channel string, data any, opts []EventOption) (ev backend.Event, a attribution, err error) {
	if !wire.ValidChannel(channel) {
		return ev, a, badChannelError(channel)
	}
	raw, err := encode(data, limit)
	if err != nil {
		return ev, a, fault.Errorf("realtime: publish: %w", err)
	}
	if a, err = attribute(ctx, opts); err == nil {
		err = a.refuse("Publish", "WithMetadata")
	}
	return message(channel, raw), a, err
}

// newEvent returns an event of the host's and what it is attributed to.
func newEvent(ctx context.Context, limit int, ev RenEvent, opts []EventOption) (event backend.Event, a attribution, err error) {
	if err := ev.check(); err != nil {
		return event, a, err
	}
	if ev.Data != nil {
		raw, err := encode(ev.Data, limit)
		if err != nil {
			return event, a, fault.Errorf("%w: data: %w", ErrBadEvent, err)
		}
		ev.Data = raw
	}
	if a, err = attribute(ctx, opts); err != nil {
		return event, a, err
	}
	if err := a.refuse("Emit", "Ephemeral", "WithMetadata"); err != nil {
		return event, a, err
	}
	if a.user != "" && ev.User != "" && a.user != ev.User {
		return event, a, fmt.Errorf("%w: AsUser names another user than the event", ErrBadOption)
	}
	set(&a.user, ev.User)
	return backend.Event(ev), a, nil
}

// stamp adds who caused an event, and when.
func stamp(ev backend.Event, a attribution) backend.Event {
	ev.User, ev.Source, ev.UnixMilli = a.user, wire.Tag(a.client), time.Now().UnixMilli()
	return ev
}

// entry is an event as it is appended, of now.
func entry(ev backend.Event, a attribution) backend.Entry {
	payload := backend.Payload{Event: stamp(ev, a), Depth: a.depth, Trace: a.trace.carried()}
	return backend.Entry{ID: a.id, Data: payload.Encode()}
}

// Transactional returns the backend, if transactions of a database can append to it.
// Package db asks, so that what InTx emits is part of the transaction.
func (rt *Realtime) Transactional() (backend.Transactional, bool) {
	t, ok := rt.opts.Backend.(backend.Transactional)
	return t, ok
}
