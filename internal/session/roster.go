package session

import (
	"bytes"
	"hash/maphash"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Roster is the members of a channel at one place in the log, encoded once for all
// sessions that show it. It must not be changed, except by Share.
type Roster struct {
	channel string
	at      backend.Position
	parts   []rosterPart
}

// rosterPart is some of the members of a roster.
type rosterPart struct {
	members []byte          // separated by commas
	frame   []byte          // the frame of all of them, where another part follows
	ends    []int           // of each member in members; nil, as joins, where everybody sees the same
	joins   []backend.Event // the presence.join of each, which the view is asked about
}

// NewRoster divides the members of a channel, as they are at a place in the log,
// into parts. Each has at most [wire.MaxPart] bytes of members, or one member. An
// empty roster has no part. If uniform is true it is for sessions with a view that
// is uniform, else for all.
func NewRoster(channel string, at backend.Position, members []presence.Member, uniform bool) *Roster {
	d := divider{channel: channel, uniform: uniform}
	var one []byte
	for _, m := range members {
		one = wire.AppendMember(one[:0], m.User, m.Metadata, m.LastSeen.UnixMilli())
		if len(d.members)+1+len(one) > wire.MaxPart {
			d.end()
		}
		d.add(m, one)
		if len(d.parts) > 0 && len(d.members) >= wire.MaxPart/2 && maphash.String(partSeed, m.User)%partCut == 0 {
			d.end()
		}
	}
	d.finish()
	return &Roster{channel: channel, at: at, parts: d.parts}
}

// Share replaces what is the same in an earlier roster of the channel, so that
// clients which read slowly may hold any number of them. It is for a roster that
// nobody else has yet.
func (r *Roster) Share(earlier *Roster) {
	for i := range min(len(r.parts), len(earlier.parts)) {
		p, q := &r.parts[i], &earlier.parts[i]
		if (p.frame == nil) == (q.frame == nil) && bytes.Equal(p.members, q.members) {
			*p = *q
		}
	}
}

// A part that is half full, other than the first, ends after a member whose id
// hashes to a multiple of partCut: so parts go on to end at the same members when
// somebody comes or goes before, and most are the same in the next roster.
const partCut = 16

var partSeed = maphash.MakeSeed()

// divider divides a roster into parts.
type divider struct {
	channel string
	uniform bool
	parts   []rosterPart
	part    rosterPart
	members []byte // of part
}

func (d *divider) add(m presence.Member, encoded []byte) {
	if len(d.members) > 0 {
		d.members = append(d.members, ',')
	}
	d.members = append(d.members, encoded...)
	if !d.uniform {
		d.part.ends = append(d.part.ends, len(d.members))
		d.part.joins = append(d.part.joins, m.Join(d.channel))
	}
}

// end ends a part, as one that another follows.
func (d *divider) end() {
	if len(d.members) == 0 {
		return
	}
	p := wire.RosterPart{Channel: d.channel, Part: len(d.parts), Members: d.members, More: true}
	d.part.frame, d.part.members = p.Frame()
	d.parts = append(d.parts, d.part)
	d.part, d.members = rosterPart{}, d.members[:0]
}

// finish ends the last part. Its frame has a cursor, and is made for each client.
func (d *divider) finish() {
	d.end()
	if n := len(d.parts); n > 0 {
		last := &d.parts[n-1]
		last.frame, last.members = nil, bytes.Clone(last.members)
	}
}
