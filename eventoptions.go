package realtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

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

const (
	clientHeader = "X-Ren-Client" // client id of the sender of a request
	cursorHeader = "X-Ren-Cursor" // cursor from before the request was handled
)

type clientKey struct{}

// clientID returns the client id a request came with, or "".
func clientID(ctx context.Context) string {
	id, _ := ctx.Value(clientKey{}).(string)
	return id
}

// attribution is the origin of an event, and its other options.
type attribution struct {
	user, client, id string
	metadata         any
	publishedAt      *Cursor
	ephemeral        bool
	given            []string // the options that not all methods know
	depth            int      // how many handlers in a row led to the event
	trace            TraceContext
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

// refuse returns an error if one of the options means nothing to a method.
func (a *attribution) refuse(method string, options ...string) error {
	for _, name := range options {
		if slices.Contains(a.given, name) {
			return fmt.Errorf("%w: %s means nothing to %s", ErrBadOption, name, method)
		}
	}
	return nil
}

func attribute(ctx context.Context, opts []EventOption) (attribution, error) {
	o := eventOptions{EventOptions: EventOptions{Client: clientID(ctx)}}
	if len(opts) > 0 {
		var err error
		if o, err = o.with(opts); err != nil {
			return attribution{}, err
		}
	}
	a := attribution{user: o.User, client: o.Client, id: o.ID, publishedAt: o.PublishedAt, ephemeral: o.Ephemeral, metadata: o.Metadata, given: o.given, depth: depth(ctx)}
	switch {
	case a.client != "" && !wire.ValidClientID(a.client):
		return a, fmt.Errorf("%w: %d bytes, and must be 16 to 64 characters of A-Z a-z 0-9 . _ -", ErrBadClientID, len(a.client)) // it is a secret
	case a.user != "" && !wire.ValidName(a.user):
		return a, nameError(ErrBadUser, a.user)
	case len(a.id) > 128:
		return a, fmt.Errorf("%w: id longer than 128 bytes", ErrBadEvent)
	case a.publishedAt == nil && slices.Contains(a.given, "PublishedAt"):
		return a, fmt.Errorf("%w: the cursor of PublishedAt is nil", ErrBadOption)
	case a.depth > maxDepth:
		return a, ErrLoop
	case a.ephemeral && (a.id != "" || a.publishedAt != nil):
		return a, fmt.Errorf("%w: Ephemeral, of an event with WithID or PublishedAt", ErrBadOption)
	}
	return a, nil
}
