package realtime

import (
	"context"
	"iter"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/ring"
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
		if err != nil {
			yield(RenEvent{}, err)
			return
		}
		reader := rt.ring.NewReader()
		defer reader.Close()
		tell := matching(&sel, yield)
		if after == "" {
			tell = later(rt.publisher.Now(), tell)
		}
		if start := reader.Subscribe(wire.Since(string(after)), topicOf(&sel)); start.State == ring.Reset {
			if !yield(RenEvent{}, &ResetError{string(start.Reason)}) {
				return
			}
		}
		rt.drain(ctx, reader, tell, yield)
	}
}

// drain hands on what reader reads until tell wants no more, or ctx or the
// Realtime ends, which fail is told.
func (rt *Realtime) drain(ctx context.Context, reader *ring.Reader, tell func(ring.Item) bool, fail func(RenEvent, error) bool) {
	var items []ring.Item
	for more := false; ; {
		items, _, more = reader.Next(items[:0], ring.Batch)
		for _, it := range items {
			if err := rt.ended(ctx); err != nil { // also if the loop lags
				fail(RenEvent{}, err)
				return
			}
			if !tell(it) {
				return
			}
		}
		clear(items) // so that evicted entries are not kept in memory
		if more {
			continue
		}
		select {
		case <-reader.Wake():
		case <-ctx.Done():
		case <-rt.running.Done():
		}
		if err := rt.ended(ctx); err != nil {
			fail(RenEvent{}, err)
			return
		}
	}
}

// ended returns the error that must end a loop, or nil.
func (rt *Realtime) ended(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-rt.running.Done():
		return ErrClosed
	default:
		return nil
	}
}

// matching returns a function that yields the items that match.
func matching(sel *match.Selector, yield func(RenEvent, error) bool) func(ring.Item) bool {
	return func(it ring.Item) bool {
		switch {
		case it.Entry == nil:
			return yield(RenEvent{}, &ResetError{string(it.Reason)})
		case it.Entry.Event.IsReset():
			return !sel.MayMatchIn(it.Entry.Event.Resource) || yield(RenEvent{}, &ResetError{string(ring.Lost)})
		}
		return !sel.Matches(&it.Entry.Event) || yield(RenEvent(it.Entry.Event), nil)
	}
}

// later returns a function that passes over entries up to a place. They are in the log, and
// this node has not read them yet.
func later(place backend.Position, tell func(ring.Item) bool) func(ring.Item) bool {
	return func(it ring.Item) bool {
		return it.Entry != nil && it.Pos.Compare(place) <= 0 || tell(it)
	}
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
