package realtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// EventOption says more about an event than its content. A method refuses, as
// [ErrBadOption], an option that means nothing to it. A fake [Publisher] reads options with
// [EventOptionsOf].
type EventOption func(*eventOptions)

// EventOptions is what a list of [EventOption] says. Fields are zero where no
// option sets them.
type EventOptions struct {
	User        string  // [AsUser]
	Client      string  // [FromClient]
	ID          string  // [WithID]
	PublishedAt *Cursor // [PublishedAt]: where to write the event's position
}

// EventOptionsOf returns what opts say. It is for fakes: it checks nothing, and skips
// options that are nil.
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

// AsUser says which user publishes; subscribers get it as userId. It is for Publish
// and Emit.
func AsUser(userID string) EventOption {
	return func(o *eventOptions) { o.User, o.given = userID, append(o.given, "AsUser") }
}

// FromClient says which client caused the event, so that it recognises the
// event as its own. Requests that came through [Realtime.Attribute] carry it in
// their context.
func FromClient(clientID string) EventOption { return func(o *eventOptions) { o.Client = clientID } }

// WithID makes an event idempotent: of those with the same id within two
// minutes, whatever they are about, the first is delivered. At most 128 bytes. It is
// for Publish and Emit.
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

// attribution is what is known about an event beside its content.
type attribution struct {
	user, client, id string
	publishedAt      *Cursor
	given            []string // the options that not all methods know
	depth            int      // how many handlers in a row led to the event
}

func attribute(ctx context.Context, opts []EventOption) (attribution, error) {
	o := eventOptions{EventOptions: EventOptions{Client: clientID(ctx)}}
	for _, opt := range opts {
		if opt == nil {
			return attribution{}, fmt.Errorf("%w: an EventOption is nil", ErrBadOption)
		}
		opt(&o)
	}
	a := attribution{user: o.User, client: o.Client, id: o.ID, publishedAt: o.PublishedAt, given: o.given, depth: depth(ctx)}
	switch {
	case a.client != "" && !wire.ValidClientID(a.client):
		return a, ErrBadClientID
	case a.user != "" && badName(a.user):
		return a, ErrBadUser
	case len(a.id) > 128:
		return a, fmt.Errorf("%w: id longer than 128 bytes", ErrBadEvent)
	case a.publishedAt == nil && slices.Contains(a.given, "PublishedAt"):
		return a, fmt.Errorf("%w: the cursor of PublishedAt is nil", ErrBadOption)
	case a.depth > maxDepth:
		return a, ErrLoop
	}
	return a, nil
}
