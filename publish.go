package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Publisher is the part of a [Realtime] that sends. A host's tests can implement it.
type Publisher interface {
	Publish(ctx context.Context, channel string, data any, opts ...EventOption) error
	Emit(ctx context.Context, ev RenEvent, opts ...EventOption) error
}

var _ Publisher = (*Realtime)(nil)

// Publish sends data, which must encode as JSON of at most [Limits].Publish
// bytes, to all followers of the channel. It returns nil when the backend has the
// message. If ctx has no deadline, it returns within 5 s. Errors: [ErrBadChannel],
// [ErrTooLarge], [ErrBadUser], [ErrBadClientID], those of [json.Marshal], and from
// the backend [ErrClosed], [ErrMaybeStored], [ErrTemporary] and those of ctx.
func (rt *Realtime) Publish(ctx context.Context, channel string, data any, opts ...EventOption) error {
	ev, a, err := newMessage(ctx, rt.opts.Limits.Publish, channel, data, opts)
	if err != nil {
		return err
	}
	if a.ephemeral {
		return rt.pass(ctx, ev, a)
	}
	return rt.append(ctx, ev, a)
}

func message(channel string, data json.RawMessage) backend.Event {
	return backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: channel, Data: data}
}

// Emit announces an event, usually of a write: see [KVPut] and the other constructors,
// or make a RenEvent with a resource and type of your own. Emit sets UnixMilli and
// Source. Messages and presence have their own methods. Emit returns nil when the
// backend has the event. If ctx has no deadline, it returns within 5 s. Errors:
// [ErrBadEvent], [ErrBadOption] if [AsUser] names another user than ev, and those of
// [Realtime.Publish].
//
// If the event of a write must be emitted even if the request's client has gone, pass
// [context.WithoutCancel] of the request's context. Packages db, kv and storage do so.
func (rt *Realtime) Emit(ctx context.Context, ev RenEvent, opts ...EventOption) error {
	event, a, err := newEvent(ctx, rt.opts.Limits.Publish, ev, opts)
	if err != nil {
		return err
	}
	return rt.append(ctx, event, a)
}

// append is the only way of events into the log, except for presence events, which
// the backend appends together with a change of its store.
func (rt *Realtime) append(ctx context.Context, ev backend.Event, a attribution) (err error) {
	if t := rt.opts.Tracer; t != nil {
		var end func(error)
		ctx, a.trace, end = t.Publish(ctx, RenEvent(ev))
		defer func() { end(err) }()
	}
	g := rt.gate(a.depth)
	began := time.Now()
	if !g.Enter() {
		rt.tally.publish.Done(began, "closed")
		return ErrClosed
	}
	defer g.Leave()
	pos, err := rt.appendEntry(ctx, ev, a)
	rt.tally.publish.Done(began, engine.Outcome(err))
	if err != nil {
		return publicError(err)
	}
	rt.accepted.raise(pos)
	rt.tellPublished(ctx, pos, a.publishedAt)
	return nil
}

// appendEntry appends an event to the log, within a span of its own.
func (rt *Realtime) appendEntry(ctx context.Context, ev backend.Event, a attribution) (pos backend.Position, err error) {
	if rt.spans != nil {
		end := rt.spans.Append(ctx, RenEvent(ev))
		defer func() { end(err) }()
	}
	return rt.backend.Append(ctx, entry(ev, a))
}

// gate returns the gate for an event with the given depth.
func (rt *Realtime) gate(depth int) *conns.Gate {
	if depth > 0 {
		return &rt.byHandlers
	}
	return &rt.byHost
}

// encode returns data as compact JSON of at most limit bytes.
func encode(data any, limit int) (json.RawMessage, error) {
	raw, ok := data.(json.RawMessage)
	if !ok {
		b, err := json.Marshal(data)
		if err != nil {
			return nil, err
		}
		raw = b
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, len(raw), limit)
	}
	if ok {
		return wire.Compact(raw) // in memory of its own, which the caller cannot change
	}
	if !utf8.Valid(raw) { // from a Marshaler, which json.Marshal trusts
		return nil, errors.New("invalid UTF-8")
	}
	return raw, nil
}
