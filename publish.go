package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/live"
	"github.com/maravilla-realtime/realtime/internal/match"
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
// [ErrTooLarge], [ErrBadUser], [ErrBadClientID], [ErrBadOption], those of
// [json.Marshal], [ErrLoop] within handlers, [ErrClosed], and from the backend
// [ErrMaybeStored], [ErrTemporary] and those of ctx.
func (rt *Realtime) Publish(ctx context.Context, channel string, data any, opts ...EventOption) error {
	enc := encoders.Get().(*encoder)
	ev, a, err := newMessage(ctx, rt.opts.Limits.Publish, channel, data, opts, enc)
	if err == nil {
		err = rt.publish(ctx, ev, a)
	}
	enc.release()
	return err
}

// publish publishes a message, whose data nobody may keep after it has returned.
func (rt *Realtime) publish(ctx context.Context, ev backend.Event, a attribution) error {
	if a.ephemeral || rt.opts.Tracer != nil { // which may keep it
		ev.Data = bytes.Clone(ev.Data)
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
		raw, err := json.Marshal(data)
		if err != nil {
			return nil, err
		}
		return checked(raw, limit)
	}
	if len(raw) > limit {
		return nil, tooLarge(len(raw), limit)
	}
	return wire.Compact(raw) // in memory of its own, which the caller cannot change
}

func tooLarge(size, limit int) error {
	return fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, size, limit)
}

// encoder is encode with memory that is used again.
type encoder struct {
	out  bytes.Buffer
	json *json.Encoder // to out
}

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.json = json.NewEncoder(&e.out)
	return e
}}

// mostKept is the size of an encoder that is worth to be kept.
const mostKept = 64 << 10

// release gives the encoder to the next who needs one, with what it has encoded.
func (e *encoder) release() {
	if e.out.Cap() <= mostKept {
		e.out.Reset()
		encoders.Put(e)
	}
}

// encode is encode once, until release. Without an encoder the memory is nobody else's.
func (e *encoder) encode(data any, limit int) (json.RawMessage, error) {
	if e == nil {
		return encode(data, limit)
	}
	if raw, ok := data.(json.RawMessage); ok {
		if len(raw) > limit {
			return nil, tooLarge(len(raw), limit)
		}
		return wire.CompactTo(&e.out, raw)
	}
	if err := e.json.Encode(data); err != nil {
		return nil, err
	}
	return checked(bytes.TrimSuffix(e.out.Bytes(), []byte("\n")), limit)
}

// checked returns what [encoding/json] made, if it has at most limit bytes.
func checked(raw []byte, limit int) (json.RawMessage, error) {
	if len(raw) > limit {
		return nil, tooLarge(len(raw), limit)
	}
	if !utf8.Valid(raw) { // from a Marshaler, which is trusted
		return nil, errors.New("invalid UTF-8")
	}
	return raw, nil
}

// defaultPublish is the default of Limits.Publish.
const defaultPublish = 1 << 20

// MessageEntry returns what [Realtime.Publish] would append to the log. It is for
// packages such as postgres, which store it in a transaction first and append it when
// that has committed. Data may have 1 MiB. Errors are those of Publish that do not
// come from the backend, and [ErrBadOption] for [PublishedAt] and [Ephemeral]: there is
// no position yet, and what is stored is not live only.
func MessageEntry(ctx context.Context, channel string, data any, opts ...EventOption) (backend.Entry, error) {
	ev, a, err := newMessage(ctx, defaultPublish, channel, data, opts, nil)
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

// newMessage returns a message and what it is attributed to. enc, which may be nil, has
// its data.
func newMessage(ctx context.Context, limit int, channel string, data any, opts []EventOption, enc *encoder) (ev backend.Event, a attribution, err error) {
	if !wire.ValidChannel(channel) {
		return ev, a, badChannelError(channel)
	}
	raw, err := enc.encode(data, limit)
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
