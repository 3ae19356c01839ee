package presence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// change describes a change of a member's record.
type change struct {
	event  string // its type, or "" for none
	source string
	depth  int
	why    Reason
}

// change calls f with the record of a member and stores the result, as often as
// another write comes in between. f gets a member without sessions if there is no
// record, and returns nil if there is nothing to change. If f leaves no sessions, the
// record is deleted.
func (p *Presence) change(ctx context.Context, channel, user string, f func(*member) *change) error {
	k := backend.Key{Kind: memberKind, Group: channel, Name: user}
	for attempt := 0; ; attempt++ {
		it, err := p.store.Get(ctx, k)
		if err != nil {
			return err
		}
		var m member
		if it.Revision != 0 {
			if m, err = decodeMember(it.Value); err != nil {
				return err
			}
		}
		c := f(&m)
		if c == nil {
			return nil
		}
		var entry *backend.Entry
		if c.event != "" {
			entry = &backend.Entry{Data: c.payload(channel, user, m.metadata)}
		}
		if len(m.sessions) == 0 {
			err = p.store.Delete(ctx, k, it.Revision, entry)
		} else {
			_, err = p.store.Put(ctx, backend.Write{Key: k, Value: m.encode(), If: it.Revision, Append: entry})
		}
		// After a conflict, or if the outcome is unknown, read the record again.
		if errors.Is(err, backend.ErrMaybeStored) {
			p.doubt(memberID{channel, user})
		}
		if !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored) {
			p.tally.changed(c.event, err)
			return err
		}
		p.tally.again.Inc()
		if stop := pause(ctx, attempt); stop != nil {
			if errors.Is(err, backend.ErrMaybeStored) {
				return err
			}
			return stop
		}
	}
}

func (c *change) payload(channel, user string, metadata json.RawMessage) []byte {
	p := backend.Payload{Depth: c.depth, Event: NewEvent(c.event, channel, user, metadata, c.why, time.Now())}
	p.Event.Source = c.source
	return p.Encode()
}

// NewEvent returns the event of a member, without a source. why is for a leave.
func NewEvent(typ, channel, user string, metadata json.RawMessage, why Reason, at time.Time) backend.Event {
	return backend.Event{
		Type: typ, Resource: backend.Presence, Channel: channel, User: user,
		UnixMilli: at.UnixMilli(), Data: eventData(metadata, why),
	}
}

// eventData returns {"metadata":…,"reason":…}, each only if there is one. Reasons
// are constants that need no escaping.
func eventData(metadata json.RawMessage, why Reason) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	if len(metadata) > 0 {
		b.WriteString(`"metadata":`)
		b.Write(metadata)
	}
	if why != "" {
		if len(metadata) > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"reason":"` + string(why) + `"`)
	}
	b.WriteByte('}')
	return b.Bytes()
}
