// Package listen reads the events that match from a node's history, for loops of Go code.
package listen

import (
	"context"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Node is what loops read from.
type Node struct {
	Ring    *ring.Ring
	Now     func() backend.Position // the place in the log after all that the node knows of
	Running context.Context         // ends when the node ends
}

// Ended returns the error that must end a loop, or nil: that of ctx, or
// [backend.ErrClosed].
func (n *Node) Ended(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-n.Running.Done():
		return backend.ErrClosed
	default:
		return nil
	}
}

// Loop is what is told. A function that returns false ends the loop.
type Loop struct {
	Tell   func(*backend.Event) bool     // each event that matches, in the order of the log
	Missed func(reason ring.Reason) bool // where some are missing
}

// After tells the events after a cursor that match; the empty cursor is the place Now. It
// returns nil when the loop wants no more, or the error that has ended it: see
// [Node.Ended].
func (n *Node) After(ctx context.Context, sel *match.Selector, after string, to Loop) error {
	reader := n.Ring.NewReader()
	defer reader.Close()
	var place backend.Position // up to which nothing is told
	if after == "" {
		place = n.Now()
	}
	if start := reader.Subscribe(wire.Since(after), topic(sel)); start.State == ring.Reset && !to.Missed(start.Reason) {
		return nil
	}
	return n.drain(ctx, reader, func(it ring.Item) bool {
		switch {
		case it.Entry == nil:
			return to.Missed(it.Reason)
		case it.Pos.Compare(place) <= 0: // in the log, and this node has not read it yet
			return true
		case it.Entry.Event.IsReset():
			return !sel.MayMatchIn(it.Entry.Event.Resource) || to.Missed(ring.Lost)
		}
		return !sel.Matches(&it.Entry.Event) || to.Tell(&it.Entry.Event)
	})
}

// drain hands on what reader reads until tell wants no more.
func (n *Node) drain(ctx context.Context, reader *ring.Reader, tell func(ring.Item) bool) error {
	var items []ring.Item
	for more := false; ; {
		items, _, more = reader.Next(items[:0], ring.Batch)
		for _, it := range items {
			if err := n.Ended(ctx); err != nil { // also if the loop lags
				return err
			}
			if !tell(it) {
				return nil
			}
		}
		clear(items) // so that evicted entries are not kept in memory
		if more {
			continue
		}
		select {
		case <-reader.Wake():
		case <-ctx.Done():
		case <-n.Running.Done():
		}
		if err := n.Ended(ctx); err != nil {
			return err
		}
	}
}

// topic returns the narrowest topic that has all matching events.
func topic(s *match.Selector) ring.Topic {
	if name, ok := match.Literal(s.Channel); ok {
		return ring.Channel(name)
	}
	if name, ok := match.Literal(s.Resource); ok {
		return ring.Domain(name)
	}
	return ring.Topic{}
}
