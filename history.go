package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/timely"
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
	case badChannel(channel):
		return HistoryPage{}, badChannelError(channel)
	case n < 1 || n > maxHistory:
		return HistoryPage{}, fmt.Errorf("%w: n is %d, and must be 1 to %d", ErrBadOption, n, maxHistory)
	}
	if err := rt.ended(ctx); err != nil {
		return HistoryPage{}, err
	}
	ctx, cancel := engine.Within(ctx, engine.CallTime)
	defer cancel()
	page, err := rt.past(ctx, pastQuery{channel: channel, before: before, want: session.Want{Messages: n}})
	if err != nil {
		return HistoryPage{}, err
	}
	p := HistoryPage{End: HistoryEnd(page.end)}
	if p.End == "" {
		p.Before = page.next
	}
	for _, m := range slices.Backward(page.messages) {
		p.Events = append(p.Events, HistoryEvent{RenEvent(*m.event), m.cursor})
	}
	return p, nil
}

// pastQuery asks for a page.
type pastQuery struct {
	channel string
	before  Cursor
	want    session.Want
	view    session.View // nil: everything is shown
}

// page is a page for a client, or for the host.
type page struct {
	messages []pastMessage // newest first
	bytes    int           // of the messages, as they are sent to clients
	next     Cursor        // everything from here on was looked at
	end      ring.End
}

type pastMessage struct {
	event   *backend.Event
	cursor  Cursor
	encoded []byte // for clients
}

// isFull reports whether the page has what is wanted.
func (p *page) isFull(w session.Want) bool {
	return len(p.messages) >= w.Messages || w.Bytes > 0 && p.bytes >= w.Bytes
}

// errBadCursor is the error of a cursor that names no place.
var errBadCursor = fmt.Errorf("%w: before is not a cursor", ErrBadOption)

// past reads a page, from the history and then from the host.
func (rt *Realtime) past(ctx context.Context, q pastQuery) (page, error) {
	p := page{next: q.before, end: ring.Gone}
	before, known := wire.ParseCursor(string(q.before))
	switch {
	case q.before == "":
		before, known = ring.Newest, true
	case !known && (rt.opts.History.Older == nil || badText(string(q.before))):
		return p, errBadCursor
	}
	if known { // else it is a cursor of the host's
		rt.waitAccepted(ctx) // so that the history has what this caller has just published
		p.add(session.ReadPast(rt.ring, q.channel, before, q.want, q.view), q.want.Bytes > 0)
	}
	switch {
	case rt.opts.History.Older == nil || p.end == ring.NoEnd:
		return p, nil
	case p.isFull(q.want):
		p.end = ring.NoEnd // the host says whether there is more
		return p, nil
	}
	return rt.pageOn(ctx, q, p)
}

// add adds what was read from the history of this node, encoded if it is for a client.
func (p *page) add(past session.Past, encoded bool) {
	for _, e := range past.Entries {
		m := pastMessage{event: &e.Event, cursor: Cursor(wire.Cursor(e.Pos))}
		if encoded {
			m.encoded = session.Text(e)
		}
		p.messages = append(p.messages, m)
		p.bytes += len(m.encoded)
	}
	if past.Next != ring.Newest {
		p.next = Cursor(wire.Cursor(past.Next))
	}
	p.end = past.End
}

// pageOn continues a page that the history ends with what the host has.
func (rt *Realtime) pageOn(ctx context.Context, q pastQuery, p page) (page, error) {
	limit := q.want.Messages - len(p.messages)
	list, err := rt.older(ctx, OlderQuery{Channel: q.channel, Before: p.next, Limit: limit})
	switch {
	case err != nil && len(p.messages) == 0:
		return page{}, err
	case err != nil: // it is asked again for the next page
		rt.log.Warn("realtime: History.Older failed; the page ends before it", "channel", q.channel, "error", err)
		p.end = ring.NoEnd
		return p, nil
	case len(list) < limit:
		p.end = ring.Beginning
	default:
		p.end, list = ring.NoEnd, list[len(list)-limit:]
	}
	for _, ev := range slices.Backward(list) {
		event := backend.Event(ev.RenEvent)
		if q.view == nil || q.view.Channel(&event) {
			m := pastMessage{event: &event, cursor: ev.Cursor}
			if q.want.Bytes > 0 {
				m.encoded = wire.Message(&event, string(ev.Cursor))
			}
			if p.bytes += len(m.encoded); p.bytes > q.want.Bytes && q.want.Bytes > 0 && len(p.messages) > 0 {
				p.end = ring.NoEnd
				return p, nil
			}
			p.messages = append(p.messages, m)
		}
		p.next = ev.Cursor
	}
	return p, nil
}

// newLookups returns the calls of Options.History.Older.
func newLookups(log *slog.Logger) *timely.Calls {
	return timely.New(undecided, func(p *timely.Panicked) {
		log.Error("realtime: panic in a call of History.Older that had been given up", "panic", p.Value, "stack", string(p.Stack))
	})
}

// older asks the host for messages, and checks what it returns.
func (rt *Realtime) older(ctx context.Context, q OlderQuery) ([]HistoryEvent, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(rt.running, cancel)()
	list, err := timely.Do(ctx, rt.lookups, func(ctx context.Context) ([]HistoryEvent, error) {
		return rt.opts.History.Older(ctx, q)
	})
	switch {
	case err != nil && rt.running.Err() != nil:
		return nil, ErrClosed
	case errors.Is(err, timely.ErrBusy), errors.Is(err, timely.ErrLeft), err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: History.Older did not return in time: %w", ErrTemporary, err)
	case err != nil:
		return nil, fmt.Errorf("realtime: History.Older: %w", err)
	}
	list = slices.Clone(list)
	for i := range list {
		if err := list[i].settle(q.Channel); err != nil {
			return nil, fmt.Errorf("realtime: History.Older: message %d of %d: %w", i+1, len(list), err)
		}
	}
	return list, nil
}

// settle fills in what the host may leave out of a message of a channel, and reports
// what makes it none.
func (ev *HistoryEvent) settle(channel string) error {
	set(&ev.Type, backend.Message)
	set(&ev.Resource, backend.Realtime)
	set(&ev.Channel, channel)
	switch {
	case ev.Cursor == "" || badText(string(ev.Cursor)):
		return fmt.Errorf("%w: cursor %s", ErrBadEvent, wire.Quote(string(ev.Cursor)))
	case ev.Type != backend.Message || ev.Resource != backend.Realtime || ev.Channel != channel:
		return fmt.Errorf("%w: not a message of the channel", ErrBadEvent)
	case badText(ev.User) || badText(ev.Source):
		return fmt.Errorf("%w: user or source", ErrBadEvent)
	case len(ev.Data) > wire.MaxData:
		return fmt.Errorf("%w: %d bytes of data", ErrBadEvent, len(ev.Data))
	}
	data, err := wire.Compact(ev.Data)
	if err != nil {
		return fmt.Errorf("%w: data: %w", ErrBadEvent, err)
	}
	ev.Data = data
	return nil
}
