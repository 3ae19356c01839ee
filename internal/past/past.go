// Package past reads what was said in a channel, page by page: first from the history
// of a node, then from where the host keeps older messages.
package past

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// ErrBadCursor: the cursor of a query names no place.
var ErrBadCursor = errors.New("before is not a cursor")

// Reader reads pages.
type Reader struct {
	Ring   *ring.Ring
	Logger *slog.Logger

	// Settle waits until Ring has what this node has appended.
	Settle func(context.Context)

	// Older returns at most limit messages of a channel, the oldest first, from those
	// before a cursor that the history, or Older itself, has given to a message; "" is the
	// end. nil: the past ends with Ring.
	Older Older
}

// Query asks for a page.
type Query struct {
	Channel string
	Before  string // cursor; "": the newest messages
	Want    session.Want
	View    session.View // nil: everything is shown
}

// Message is a message at its place in the past of a channel.
type Message struct {
	Event   *backend.Event
	Cursor  string // after it
	Encoded []byte // for clients, if the query bounds the bytes
}

// Page is a part of the past.
type Page struct {
	Messages []Message // the newest first
	Next     string    // cursor; everything from here on was looked at
	End      ring.End

	bytes int // of the encoded messages
}

// isFull reports whether the page has what is wanted.
func (p *Page) isFull(w session.Want) bool {
	return len(p.Messages) >= w.Messages || w.Bytes > 0 && p.bytes >= w.Bytes
}

// Read reads a page. Errors: [ErrBadCursor], and that of Older if the page has no other
// messages. It blocks as long as Settle and Older do.
func (r *Reader) Read(ctx context.Context, q Query) (Page, error) {
	p := Page{Next: q.Before, End: ring.Gone}
	before, known := wire.ParseCursor(q.Before)
	switch {
	case q.Before == "":
		before, known = ring.Newest, true
	case !known && (r.Older == nil || !wire.ValidText(q.Before)):
		return p, ErrBadCursor
	}
	if known { // else it is a cursor of the host's
		r.Settle(ctx) // so that the history has what this caller has just published
		p.add(session.ReadPast(r.Ring, q.Channel, before, q.Want, q.View), q.Want.Bytes > 0)
	}
	switch {
	case r.Older == nil || p.End == ring.NoEnd:
		return p, nil
	case p.isFull(q.Want):
		p.End = ring.NoEnd // the host says whether there is more
		return p, nil
	}
	return r.continuePage(ctx, q, p)
}

// add adds what was read from the history of the node, encoded if it is for a client.
func (p *Page) add(read session.Past, encoded bool) {
	for _, e := range read.Entries {
		m := Message{Event: &e.Event, Cursor: wire.Cursor(e.Pos)}
		if encoded {
			m.Encoded = session.Text(e)
		}
		p.Messages = append(p.Messages, m)
		p.bytes += len(m.Encoded)
	}
	if read.Next != ring.Newest {
		p.Next = wire.Cursor(read.Next)
	}
	p.End = read.End
}

// continuePage continues a page with what the host has, after the history has ended.
func (r *Reader) continuePage(ctx context.Context, q Query, p Page) (Page, error) {
	limit := q.Want.Messages - len(p.Messages)
	list, err := r.Older(ctx, q.Channel, p.Next, limit)
	switch {
	case err != nil && len(p.Messages) == 0:
		return Page{}, err
	case err != nil: // it is asked again for the next page
		r.Logger.Warn("realtime: History.Older failed; the page ends before it", "channel", q.Channel, "error", err)
		p.End = ring.NoEnd
		return p, nil
	case len(list) < limit:
		p.End = ring.Beginning
	default:
		p.End, list = ring.NoEnd, list[len(list)-limit:]
	}
	for _, m := range slices.Backward(list) {
		if q.View == nil || q.View.Channel(m.Event) {
			if q.Want.Bytes > 0 {
				m.Encoded = wire.Message(m.Event, m.Cursor)
			}
			if p.bytes += len(m.Encoded); p.bytes > q.Want.Bytes && len(p.Messages) > 0 {
				p.End = ring.NoEnd
				return p, nil
			}
			p.Messages = append(p.Messages, m)
		}
		p.Next = m.Cursor
	}
	return p, nil
}
