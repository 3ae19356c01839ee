package realtime

import (
	"bytes"
	"hash/maphash"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// rosterPart is a part of a roster, encoded once for all clients.
type rosterPart struct {
	members []byte          // separated by commas
	frame   []byte          // the frame of all of them, where another part follows
	ends    []int           // of each member in members; nil, like joins, if all clients see the same
	joins   []backend.Event // the presence.join of each, for Policy.See
}

// divider divides a roster into parts. Each has at most wire.MaxPart bytes of
// members, or one member. An empty roster has no part.
type divider struct {
	channel  string
	filtered bool
	parts    []rosterPart
	part     rosterPart
	members  []byte // of part
}

// Except for the first, a part that is half full ends after a member whose id hashes to
// a multiple of partCut. So parts end at the same members even if others before them
// come or go, and most parts are the same in the next reading.
const partCut = 16

var partSeed = maphash.MakeSeed()

func divide(channel string, members []Member, filtered bool) []rosterPart {
	d := divider{channel: channel, filtered: filtered}
	var one []byte
	for _, m := range members {
		one = wire.AppendMember(one[:0], m.UserID, m.Metadata, m.LastSeen.UnixMilli())
		if n := len(d.members); n > 0 && n+1+len(one) > wire.MaxPart {
			d.end()
		}
		d.add(m, one)
		if len(d.parts) > 0 && len(d.members) >= wire.MaxPart/2 && maphash.String(partSeed, m.UserID)%partCut == 0 {
			d.end()
		}
	}
	d.finish()
	return d.parts
}

func (d *divider) add(m Member, encoded []byte) {
	if len(d.members) > 0 {
		d.members = append(d.members, ',')
	}
	d.members = append(d.members, encoded...)
	if d.filtered {
		d.part.ends = append(d.part.ends, len(d.members))
		d.part.joins = append(d.part.joins, joinOf(d.channel, m))
	}
}

// end ends a part that is not the last one.
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

// share replaces parts that are the same in an earlier reading by those.
func share(parts, earlier []rosterPart) {
	for i := range min(len(parts), len(earlier)) {
		if (parts[i].frame == nil) == (earlier[i].frame == nil) && bytes.Equal(parts[i].members, earlier[i].members) {
			parts[i] = earlier[i]
		}
	}
}
