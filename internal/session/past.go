package session

import (
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Want is how much of the past of a channel is to be read.
type Want struct {
	Messages int           // at least 1
	Bytes    int           // as they are sent; the first message may exceed it; 0: any number
	Age      time.Duration // since they came to this node; 0: any
}

// Past is what was read of the past of a channel.
type Past struct {
	Entries []*ring.Entry // messages, newest first
	Next    backend.Position
	End     ring.End // NoEnd: older messages stand before Next
}

const (
	mostLooks = 4096 // messages that a view is asked about, to find those that it shows
	someLooks = 64   // at a time
)

// ReadPast reads the messages of a channel before a place that the view shows. A nil
// view shows everything.
func ReadPast(r *ring.Ring, name string, before backend.Position, want Want, v View) Past {
	p, now := Past{Next: before}, time.Now()
	for looks := 0; looks < mostLooks; {
		found, end := r.Before(name, p.Next, max(want.Messages-len(p.Entries), someLooks))
		for i, e := range found {
			if want.Age > 0 && now.Sub(e.Came()) > want.Age {
				return p
			}
			if v == nil || v.Channel(&e.Event) {
				if want.Bytes > 0 {
					size := len(Text(e))
					if want.Bytes -= size; want.Bytes < 0 && len(p.Entries) > 0 {
						return p
					}
					want.Bytes = max(want.Bytes, 1)
				}
				p.Entries = append(p.Entries, e)
			}
			p.Next = e.Pos
			if len(p.Entries) == want.Messages {
				if i+1 == len(found) {
					p.End = end
				}
				return p
			}
		}
		if p.End = end; end != ring.NoEnd {
			return p
		}
		looks += len(found)
	}
	return p
}

// Page is a page of history, as it was read for the client.
type Page struct {
	Channel  string
	Messages []PageMessage // oldest first
	Before   string        // the cursor of the page before this one
	End      string        // why there is none
}

// PageMessage is a message with what is sent of it.
type PageMessage struct {
	Event   *backend.Event
	Encoded []byte
}

// History answers a history operation with the messages of a page that the client may
// see now.
func (c *Channels) History(ref *int64, p Page) {
	past := wire.Past{Before: p.Before, End: p.End}
	for _, m := range p.Messages {
		if c.view.Channel(m.Event) {
			past.Messages = append(past.Messages, m.Encoded)
		}
	}
	c.Answer(wire.Frame{Event: "history", Ref: ref, Channel: p.Channel, Past: &past})
}

// Rewind is what of the past a client gets with a subscription.
type Rewind struct {
	wire.Back
	Older bool // there may be older messages than those of the history
}

// Rewinding lists the channels that have answers which wait, with something of the past.
func (c *Channels) Rewinding() (names []string) {
	for _, f := range c.followed {
		if x := f.showing; x != nil && slices.ContainsFunc(slices.Concat(x.answers, x.later), func(a answer) bool { return a.back.Messages > 0 }) {
			names = append(names, f.name)
		}
	}
	return names
}

// Withhold takes what the policy said of the past of channels when it was asked at a
// turn: nil is yes. It leaves out what is not allowed of answers that wait, except those
// that were allowed at a later turn.
func (c *Channels) Withhold(turn uint64, verdict map[string]*wire.Error) {
	for name, why := range verdict {
		if f := c.followed.find(name); why != nil && f != nil && f.showing != nil {
			f.showing.withhold(turn)
		}
	}
}

// rewind returns the last messages of a channel that is followed, up to where its events
// go on.
func (c *Channels) rewind(name string, back Rewind) *wire.Past {
	before := c.reader.Complete(ring.Channel(name))
	if before == (backend.Position{}) { // a reset follows, and says that messages are missing
		return &wire.Past{End: string(ring.Gone)}
	}
	before.Seq++
	p := ReadPast(c.ring, name, before, Want{Messages: back.Messages, Bytes: wire.MaxPage, Age: back.Age}, c.view)
	past := &wire.Past{End: string(p.End)}
	if p.End == ring.NoEnd || back.Older {
		past.Before, past.End = wire.Cursor(p.Next), ""
	}
	for _, e := range slices.Backward(p.Entries) {
		past.Messages = append(past.Messages, Text(e))
	}
	return past
}
