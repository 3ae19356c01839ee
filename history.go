package realtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/past"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// HistoryPage is a part of the past of a channel.
type HistoryPage struct {
	// Events are messages, the oldest first. There may be fewer than were asked for,
	// or none, although there are older ones: End says whether there are.
	Events []HistoryEvent
	// Before is the cursor of the page before this one, or "" where End is set.
	Before Cursor
	// End says why there is no page before this one, or "" where there is.
	End HistoryEnd
}

// HistoryEvent is a message at its place in the past of a channel.
type HistoryEvent struct {
	RenEvent
	Cursor Cursor // the place after it, which is its "id" in browsers
}

// HistoryEnd says why a history has no older messages.
type HistoryEnd string

// The ends of a history.
const (
	// HistoryStart: there are no older messages of the channel. The log, or the host's
	// database, has had no others.
	HistoryStart HistoryEnd = HistoryEnd(ring.Beginning)
	// HistoryEvicted: older messages have left the history, or may have: nobody
	// remembers.
	HistoryEvicted HistoryEnd = HistoryEnd(ring.Gone)
)

// OlderQuery asks for messages that are no longer in the history of a node. See
// [History].
type OlderQuery struct {
	Channel string
	// Before is the cursor of the message before which the messages are wanted. It is the
	// Cursor of a message from the log, or of one that Older has returned. "": the newest
	// are wanted.
	Before Cursor
	Limit  int // at least 1
}

// maxHistory bounds the messages of one page.
const maxHistory = 1000

// History returns the messages of a channel before a cursor, at most n of them, as far
// as the history of this node has them; after that, as far as [History].Older has them.
// It begins with the newest if before is "". For the page before that, pass Before of
// the last one, or the Cursor of its oldest message. n may be 1 to 1000.
//
// The history has every message whose Publish on this node has returned. Presence events
// are not part of it. [Policy] is not asked.
//
// It blocks as long as Older. If ctx has no deadline, it returns within 5 s. Errors:
// [ErrBadChannel]; [ErrBadOption] for n and before; [ErrClosed]; [ErrTemporary] if Older
// did not return in time; and its own errors, if the page has no other messages.
func (rt *Realtime) History(ctx context.Context, channel string, before Cursor, n int) (HistoryPage, error) {
	switch {
	case !wire.ValidChannel(channel):
		return HistoryPage{}, badChannelError(channel)
	case n < 1 || n > maxHistory:
		return HistoryPage{}, fmt.Errorf("%w: n is %d, and must be 1 to %d", ErrBadOption, n, maxHistory)
	}
	if err := rt.ended(ctx); err != nil {
		return HistoryPage{}, err
	}
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	page, err := rt.past.Read(ctx, past.Query{Channel: channel, Before: string(before), Want: session.Want{Messages: n}})
	switch {
	case errors.Is(err, past.ErrBadCursor):
		return HistoryPage{}, fault.Errorf("%w: %w", ErrBadOption, err)
	case err != nil:
		return HistoryPage{}, err
	}
	p := HistoryPage{End: HistoryEnd(page.End)}
	if p.End == "" {
		p.Before = Cursor(page.Next)
	}
	for _, m := range slices.Backward(page.Messages) {
		p.Events = append(p.Events, HistoryEvent{RenEvent(*m.Event), Cursor(m.Cursor)})
	}
	return p, nil
}

// newPast reads the past of channels, on into what the host keeps.
func (rt *Realtime) newPast() *past.Reader {
	r := &past.Reader{Ring: rt.ring, Settle: rt.publisher.Settle, Logger: rt.log}
	if rt.opts.History.Older != nil {
		r.Older = rt.older.Older
	}
	return r
}

// newOlder asks the host for messages that are older than the history.
func (rt *Realtime) newOlder() *past.Host {
	return past.NewHost(rt.running, ErrClosed, rt.log, func(ctx context.Context, channel, before string, limit int) ([]past.Message, error) {
		list, err := rt.opts.History.Older(ctx, OlderQuery{Channel: channel, Before: Cursor(before), Limit: limit})
		if err != nil {
			return nil, err
		}
		messages := make([]past.Message, len(list))
		for i, ev := range list {
			event := backend.Event(ev.RenEvent)
			messages[i] = past.Message{Event: &event, Cursor: string(ev.Cursor)}
		}
		return messages, nil
	})
}
