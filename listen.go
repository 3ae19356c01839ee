package realtime

import (
	"context"
	"iter"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/listen"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Events yields the events that match, in log order, each once, from the next event
// on. It blocks until ctx ends, whose error comes last. If events were missed, it
// yields a [*ResetError] and continues. The loop may be slow: it reads from the
// history, and misses events only if it lags by more than that. Other errors, which end
// the loop: [ErrBadPattern], [ErrClosed].
func (rt *Realtime) Events(ctx context.Context, match EventMatch) iter.Seq2[RenEvent, error] {
	return rt.EventsAfter(ctx, match, "")
}

// EventsAfter is [Realtime.Events] from the first event after the cursor on. The empty
// cursor is the end of the log: what this node has published before the loop is not
// yielded.
func (rt *Realtime) EventsAfter(ctx context.Context, m EventMatch, after Cursor) iter.Seq2[RenEvent, error] {
	sel, err := m.compile()
	return func(yield func(RenEvent, error) bool) {
		ended := err
		if ended == nil {
			ended = rt.listeners().After(ctx, &sel, string(after), listen.Loop{
				Tell:   func(ev *backend.Event) bool { return yield(RenEvent(*ev), nil) },
				Missed: func(reason ring.Reason) bool { return yield(RenEvent{}, &ResetError{string(reason)}) },
			})
		}
		if ended != nil {
			yield(RenEvent{}, bounded.Public(ended))
		}
	}
}

func (rt *Realtime) listeners() *listen.Node {
	return &listen.Node{Ring: rt.ring, Now: rt.publisher.Now, Running: rt.running}
}

// ended returns the error of ctx, or [ErrClosed], once one of both has ended.
func (rt *Realtime) ended(ctx context.Context) error {
	return bounded.Public(rt.listeners().Ended(ctx))
}

// WaitFor returns the first event after the cursor that matches, and blocks until there
// is one. To wait for an event that a call causes, take [Realtime.Cursor] before the
// call. The empty cursor is the end of the log. If events were missed, the one waited
// for may be among them, and the error is a [*ResetError]. Other errors are those of
// [Realtime.Events].
func (rt *Realtime) WaitFor(ctx context.Context, match EventMatch, after Cursor) (RenEvent, error) {
	for ev, err := range rt.EventsAfter(ctx, match, after) {
		return ev, err
	}
	return RenEvent{}, ErrClosed // not reached: EventsAfter ends with an error
}

// Cursor is an opaque place in the log. See [Realtime.Cursor].
type Cursor string

// Cursor returns the place up to which this node has read the log. A reader that
// begins there, with [Realtime.WaitFor] or as a client, gets all events that happen
// after the call. Cursor does not block.
func (rt *Realtime) Cursor() Cursor { return Cursor(wire.Cursor(rt.ring.Head())) }
