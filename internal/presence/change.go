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

// known is the record of a member as this node has written it: the zero known if there is
// none. A write that names its revision proves that it is still so.
type known struct {
	value    []byte
	revision backend.Revision
}

// change calls f with the record of a member and stores the result, as often as
// another write comes in between, and returns it. f gets a member without sessions if
// there is no record, and returns nil if there is nothing to change. If f leaves no
// sessions, the record is deleted. At first f gets the record as guess has it, and the
// request that would read it is saved; nil: it is read. A record that cannot be read is
// reported and left as it is, and the error is [errRecord].
func (p *Presence) change(ctx context.Context, id memberID, guess *known, f func(*member) *change) (known, error) {
	for attempt := 0; ; attempt++ {
		was, guessed := guess, guess != nil
		if guess = nil; !guessed {
			it, err := p.store.Get(ctx, id.key())
			if err != nil {
				return known{}, err
			}
			was = &known{it.Value, it.Revision}
		}
		m, err := was.member()
		if err != nil {
			p.malformed.Report(p.log, id.key(), err)
			return known{}, err
		}
		c := f(&m)
		switch {
		case c == nil && guessed: // only a write proves it
			continue
		case c == nil:
			return *was, nil
		}
		now, err := p.write(ctx, id, was.revision, &m, c)
		// After a conflict, or if the outcome is unknown, read the record again.
		if errors.Is(err, backend.ErrMaybeStored) {
			p.doubt(id)
		}
		if !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored) {
			p.tally.changed(c.event, err)
			return now, err
		}
		p.tally.again.Inc()
		if guessed && errors.Is(err, backend.ErrConflict) {
			continue // nobody collides: the guess was wrong
		}
		if stop := pause(ctx, attempt); stop != nil {
			if errors.Is(err, backend.ErrMaybeStored) {
				return known{}, err
			}
			return known{}, stop
		}
	}
}

// update is change for a member whose sessions here, if there are any, stay known. It must
// be called with the lock of the member.
func (p *Presence) update(ctx context.Context, id memberID, guess *known, f func(*member) *change) error {
	now, err := p.change(ctx, id, guess, f)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local.wrote(id, now)
	return err
}

// guess returns the record of a member as this node has written it last; nil: it does not
// know. Of a user who has no session here it guesses that there is no record.
func (p *Presence) guess(id memberID) *known {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.local.members[id]
	switch {
	case m == nil:
		return &known{}
	case m.known.revision == 0:
		return nil
	}
	k := m.known
	return &k
}

// write makes one attempt to store a member, with the event of the change.
func (p *Presence) write(ctx context.Context, id memberID, was backend.Revision, m *member, c *change) (known, error) {
	var entry *backend.Entry
	if c.event != "" {
		entry = &backend.Entry{Data: c.payload(id.channel, id.user, m.metadata)}
	}
	if len(m.sessions) == 0 {
		return known{}, p.store.Delete(ctx, id.key(), was, entry)
	}
	value := m.encode()
	rev, err := p.store.Put(ctx, backend.Write{Key: id.key(), Value: value, If: was, Append: entry})
	return known{value, rev}, err
}

// member returns what the record says.
func (k *known) member() (member, error) {
	if k.revision == 0 {
		return member{}, nil
	}
	return decodeMember(k.value)
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
