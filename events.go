package realtime

import (
	"context"
	"fmt"
	"iter"

	"github.com/maravilla-realtime/realtime/internal/ring"
)

// EventMatch selects events. Each field is a pattern, in which '*' stands for
// any run of characters, ':' included; "" matches everything. See [ErrBadPattern].
type EventMatch struct {
	Resource  string
	Type      string
	Namespace string
	Key       string
	Channel   string
}

// selector is a compiled EventMatch.
type selector struct {
	resource, typ, namespace, key, channel matcher
}

func (m EventMatch) compile() (s selector, err error) {
	for _, f := range []struct {
		name, pattern string
		to            *matcher
	}{
		{"Resource", m.Resource, &s.resource},
		{"Type", m.Type, &s.typ},
		{"Namespace", m.Namespace, &s.namespace},
		{"Key", m.Key, &s.key},
		{"Channel", m.Channel, &s.channel},
	} {
		if *f.to, err = compile(f.pattern); err != nil {
			return s, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return s, nil
}

func (s *selector) matches(ev *RenEvent) bool {
	return s.resource.Match(ev.Resource) && s.typ.Match(ev.Type) && s.namespace.Match(ev.Namespace) &&
		s.key.Match(ev.Key) && s.channel.Match(ev.Channel)
}

// topic returns the narrowest topic that holds all matching events.
func (s *selector) topic() ring.Topic {
	if name, ok := literal(s.channel); ok {
		return ring.Channel(name)
	}
	if name, ok := literal(s.resource); ok {
		return ring.Domain(name)
	}
	return ring.Topic{}
}

// ResetError says that events were missed: the reader was too slow, came with
// too old a cursor, or the backend lost them. What they would have told has to
// be read anew from where it is kept.
type ResetError struct {
	Reason string // "evicted", "epoch", "unknown" or "backend", as in docs/protocol.md
}

func (e *ResetError) Error() string { return "realtime: events were missed: " + e.Reason }

// Events yields the events that match, in log order, each once, until ctx ends
// (its error comes last), or forever. It begins with what comes next, or behind
// the cursor given. Where events were missed it yields a [*ResetError] and goes
// on. The loop may be slow: it has no queue that could overflow, only the
// history that could be outrun. Other errors: [ErrBadPattern], [ErrClosed].
func (rt *Realtime) Events(ctx context.Context, match EventMatch, after ...Cursor) iter.Seq2[RenEvent, error] {
	since := ""
	if len(after) > 0 {
		since = string(after[0])
	}
	sel, err := match.compile()
	return func(yield func(RenEvent, error) bool) {
		if err != nil {
			yield(RenEvent{}, err)
			return
		}
		wake := make(chan struct{}, 1)
		reader := rt.ring.NewReader(func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		defer reader.Close()
		if start := reader.Subscribe(parseSince(since), sel.topic()); start.State == ring.Reset {
			if !yield(RenEvent{}, &ResetError{string(start.Reason)}) {
				return
			}
		}
		var items []ring.Item
		for more := false; ; {
			if items, _, more = reader.Next(items[:0], batch); !sel.yield(items, yield) {
				return
			}
			if more {
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				yield(RenEvent{}, ctx.Err())
				return
			case <-rt.done:
				yield(RenEvent{}, ErrClosed)
				return
			}
		}
	}
}

func (s *selector) yield(items []ring.Item, yield func(RenEvent, error) bool) bool {
	for _, it := range items {
		if it.Entry == nil {
			if !yield(RenEvent{}, &ResetError{string(it.Reason)}) {
				return false
			}
			continue
		}
		if ev := RenEvent(it.Entry.Event); s.matches(&ev) && !yield(ev, nil) {
			return false
		}
	}
	return true
}

// WaitFor returns the next event that matches, or the first behind the cursor
// given. To wait for what a call causes, take [Realtime.Cursor] before the call
// and wait behind it. Where events were missed, among them perhaps the one
// waited for, the error is a [*ResetError]; otherwise errors are those of
// [Realtime.Events].
func (rt *Realtime) WaitFor(ctx context.Context, match EventMatch, after ...Cursor) (RenEvent, error) {
	for ev, err := range rt.Events(ctx, match, after...) {
		return ev, err
	}
	return RenEvent{}, ErrClosed // not reached: Events ends with an error
}
