package realtime

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/publish"
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
	enc := publish.NewEncoder()
	defer enc.Release()
	ev, o, err := newMessage(ctx, rt.opts.Limits.Publish, channel, data, opts, enc)
	if err != nil {
		return err
	}
	if o.Ephemeral || rt.opts.Tracer != nil { // which may keep it
		ev.Data = bytes.Clone(ev.Data)
	}
	if o.Ephemeral {
		return bounded.Public(rt.publisher.Pass(ev, o.origin()))
	}
	return rt.append(ctx, ev, o)
}

// Emit announces an event, usually of a write: see [KVPut] and the other constructors,
// or make a RenEvent with a resource and type of your own. A type that has a constructor
// goes with its own resource only. Emit sets UnixMilli and Source. Messages and presence
// have their own methods. Emit returns nil when the backend has the event. If ctx has no deadline, it returns within 5 s. Errors:
// [ErrBadEvent], [ErrBadOption] if [AsUser] names another user than ev, and those of
// [Realtime.Publish].
//
// If the event of a write must be emitted even if the request's client has gone, pass
// [context.WithoutCancel] of the request's context. Packages db, kv and storage do so.
func (rt *Realtime) Emit(ctx context.Context, ev RenEvent, opts ...EventOption) error {
	event, o, err := newEvent(ctx, rt.opts.Limits.Publish, ev, opts)
	if err != nil {
		return err
	}
	return rt.append(ctx, event, o)
}

func (rt *Realtime) append(ctx context.Context, ev backend.Event, o eventOptions) error {
	pos, err := rt.publisher.Append(ctx, ev, o.origin())
	if err != nil {
		return bounded.Public(err)
	}
	if o.PublishedAt != nil {
		rt.publisher.Reach(ctx, pos)
		*o.PublishedAt = Cursor(wire.Cursor(pos))
	}
	return nil
}

// EventOption is an option of an event. A method refuses an option that means nothing
// to it with [ErrBadOption]. A fake [Publisher] can read options with
// [EventOptionsOf].
type EventOption func(*eventOptions)

// EventOptions are the values of a list of [EventOption]. A field that no option sets
// is zero.
type EventOptions struct {
	User        string  // [AsUser]
	Client      string  // [FromClient]
	ID          string  // [WithID]
	PublishedAt *Cursor // [PublishedAt]: where to write the event's position
	Ephemeral   bool    // [Ephemeral]
	Metadata    any     // [WithMetadata]
}

// EventOptionsOf returns the values of opts. It is for fakes: it checks nothing, and
// skips options that are nil.
func EventOptionsOf(opts ...EventOption) EventOptions {
	var o eventOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	return o.EventOptions
}

type eventOptions struct {
	EventOptions
	given []string // the options that not all methods know
	depth int      // how many handlers in a row led to the event
}

// AsUser names the user who publishes; subscribers get it as userId. It is for Publish,
// Emit and Stream.
func AsUser(userID string) EventOption {
	return func(o *eventOptions) { o.User, o.given = userID, append(o.given, "AsUser") }
}

// FromClient names the client that caused the event, so that it recognises the
// event as its own. The context of a request that came through [Realtime.Attribute]
// names the client already.
func FromClient(clientID string) EventOption { return func(o *eventOptions) { o.Client = clientID } }

// WithID makes an event idempotent: of all events with the same id within two
// minutes, whatever their content, only the first is delivered. The id may have at
// most 128 bytes. It is for Publish and Emit.
func WithID(id string) EventOption {
	return func(o *eventOptions) { o.ID, o.given = id, append(o.given, "WithID") }
}

// PublishedAt sets *cursor to the position of the event in the log, if Publish or
// Emit returns nil. If the event is not delivered because an earlier one has the same
// id (see [WithID]), it is the position of the earlier one. What a reader finds after
// the cursor happened after the event: see [Realtime.EventsAfter] and
// [Realtime.WaitFor].
//
// Publish and Emit then also wait until this node has read the log up to there, for at
// most 2 s. A node that has not read so far resets a reader that begins there.
//
// It is for Publish and Emit; cursor must not be nil.
func PublishedAt(cursor *Cursor) EventOption {
	return func(o *eventOptions) { o.PublishedAt, o.given = cursor, append(o.given, "PublishedAt") }
}

// Ephemeral makes a message live only, for who is typing, cursors and progress. Those
// who are subscribed to the channel over a WebSocket when it comes get it; the others,
// and those who lag, may not, and are not told. It is not in the history, takes no room
// there, and is never replayed. REN streams, [Realtime.Events], [Realtime.WaitFor] and
// handlers do not get it.
//
// Of each user a channel has only the newest of each type (the top-level member "type"
// of the data): it replaces one that a slow reader has not been sent, or that waits since
// [Limits].Ephemeral of the channel have been sent within a second. Publish returns
// when the message waits, and does not learn what becomes of it. Errors beside those of
// Publish: [ErrTooLarge] for more than 16 KiB of data, and [ErrTemporary] if too many
// wait.
//
// It is for Publish, without [WithID] and [PublishedAt].
func Ephemeral() EventOption {
	return func(o *eventOptions) { o.Ephemeral, o.given = true, append(o.given, "Ephemeral") }
}

// WithMetadata says what a growing message is: its author, its place in a thread, the name
// of a model. v must encode as JSON of at most [Limits].Metadata bytes. It is for Stream.
func WithMetadata(v any) EventOption {
	return func(o *eventOptions) { o.Metadata, o.given = v, append(o.given, "WithMetadata") }
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

func toAppendLater(ev backend.Event, o eventOptions, err error) (backend.Entry, error) {
	for _, name := range []string{"PublishedAt", "Ephemeral"} {
		if err == nil && slices.Contains(o.given, name) {
			err = fmt.Errorf("%w: %s, of an event that is appended later", ErrBadOption, name)
		}
	}
	if err != nil {
		return backend.Entry{}, err
	}
	from := o.origin()
	return from.Entry(ev), nil
}

// Transactional returns the backend, if transactions of a database can append to it.
// Package db asks, so that what InTx emits is part of the transaction.
func (rt *Realtime) Transactional() (backend.Transactional, bool) {
	t, ok := rt.opts.Backend.(backend.Transactional)
	return t, ok
}

// newMessage returns a message and its options. enc, which may be nil, has its data.
func newMessage(ctx context.Context, limit int, channel string, data any, opts []EventOption, enc *publish.Encoder) (ev backend.Event, o eventOptions, err error) {
	if !wire.ValidChannel(channel) {
		return ev, o, badChannelError(channel)
	}
	raw, err := enc.Encode(data, limit)
	if err != nil {
		return ev, o, fault.Errorf("realtime: publish: %w", err)
	}
	o, err = optionsOf(ctx, "Publish", opts, "WithMetadata")
	return publish.Message(channel, raw), o, err
}

// newEvent returns an event of the host's and its options.
func newEvent(ctx context.Context, limit int, ev RenEvent, opts []EventOption) (event backend.Event, o eventOptions, err error) {
	if err := ev.check(); err != nil {
		return event, o, err
	}
	if ev.Data != nil {
		raw, err := publish.Encode(ev.Data, limit)
		if err != nil {
			return event, o, fault.Errorf("%w: data: %w", ErrBadEvent, err)
		}
		ev.Data = raw
	}
	if o, err = optionsOf(ctx, "Emit", opts, "Ephemeral", "WithMetadata"); err != nil {
		return event, o, err
	}
	if o.User != "" && ev.User != "" && o.User != ev.User {
		return event, o, fmt.Errorf("%w: AsUser names another user than the event", ErrBadOption)
	}
	set(&o.User, ev.User)
	return backend.Event(ev), o, nil
}

// maxDepth is how many handlers may react to each other in a row.
const maxDepth = 8

type depthKey struct{}

// depth returns the number of handlers in a row that led to ctx.
func depth(ctx context.Context) int {
	n, _ := ctx.Value(depthKey{}).(int)
	return n
}

// optionsOf returns the options of a call, for a method to which some mean nothing.
func optionsOf(ctx context.Context, method string, opts []EventOption, meaningless ...string) (eventOptions, error) {
	o := eventOptions{EventOptions: EventOptions{Client: clientID(ctx)}, depth: depth(ctx)}
	if len(opts) > 0 {
		var err error
		if o, err = o.with(opts); err != nil {
			return o, err
		}
	}
	if err := o.check(); err != nil {
		return o, err
	}
	for _, name := range meaningless {
		if slices.Contains(o.given, name) {
			return o, fmt.Errorf("%w: %s means nothing to %s", ErrBadOption, name, method)
		}
	}
	return o, nil
}

// with returns the options after opts were applied, in memory that is needed for that
// only.
func (o eventOptions) with(opts []EventOption) (eventOptions, error) {
	for _, opt := range opts {
		if opt == nil {
			return o, fmt.Errorf("%w: an EventOption is nil", ErrBadOption)
		}
		opt(&o)
	}
	return o, nil
}

func (o *eventOptions) check() error {
	switch {
	case o.Client != "" && !wire.ValidClientID(o.Client):
		return fmt.Errorf("%w: %d bytes, and must be 16 to 64 characters of A-Z a-z 0-9 . _ -", ErrBadClientID, len(o.Client)) // it is a secret
	case o.User != "" && !wire.ValidName(o.User):
		return nameError(ErrBadUser, o.User)
	case len(o.ID) > 128:
		return fmt.Errorf("%w: id longer than 128 bytes", ErrBadEvent)
	case o.PublishedAt == nil && slices.Contains(o.given, "PublishedAt"):
		return fmt.Errorf("%w: the cursor of PublishedAt is nil", ErrBadOption)
	case o.depth > maxDepth:
		return ErrLoop
	case o.Ephemeral && (o.ID != "" || o.PublishedAt != nil):
		return fmt.Errorf("%w: Ephemeral, of an event with WithID or PublishedAt", ErrBadOption)
	}
	return nil
}

// origin is what the event is attributed to.
func (o *eventOptions) origin() publish.Origin {
	return publish.Origin{User: o.User, Client: o.Client, ID: o.ID, Depth: o.depth}
}
