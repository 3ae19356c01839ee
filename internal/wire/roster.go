package wire

import "encoding/json"

const (
	// MaxRead is the size of the largest WebSocket message or event of a stream that
	// the Go clients read, in bytes.
	MaxRead = 8 << 20

	// MaxData is the size of the largest data of an event, in bytes. It leaves room
	// for the other members of the event, and for what shares a WebSocket message
	// with it.
	MaxData = MaxRead - 256<<10

	// MaxPart bounds the bytes of members in one part of a roster; one member may be
	// larger.
	MaxPart = 64 << 10
)

// AppendMember appends a member as it stands in a roster. lastSeen is in
// milliseconds since the Unix epoch.
func AppendMember(dst []byte, user string, metadata json.RawMessage, lastSeen int64) []byte {
	b := object{buf: append(dst, '{')}
	b.text("userId", user)
	b.raw("metadata", metadata)
	b.number("lastSeen", lastSeen)
	return b.end()
}

// RosterPart is one frame of a roster: see "Rosters" in docs/protocol.md.
type RosterPart struct {
	Channel string
	Part    int    // 0, 1, …
	Members []byte // each by AppendMember, separated by commas
	More    bool   // another part follows
	Cursor  string // of the last part
}

// Append appends the frame to dst.
func (p *RosterPart) Append(dst []byte) []byte {
	dst = append(dst, `{"event":"presence.state"`...)
	b := object{buf: dst}
	b.text("channel", p.Channel)
	if p.Part > 0 {
		b.number("part", int64(p.Part))
	}
	b.name("members")
	b.buf = append(b.buf, '[')
	b.buf = append(b.buf, p.Members...)
	b.buf = append(b.buf, ']')
	if p.More {
		b.name("more")
		b.buf = append(b.buf, "true"...)
	}
	b.optional("cursor", p.Cursor)
	return b.end()
}

// Frame returns the frame of a part that is not the last one, in memory of its own.
// members is the part of frame that holds the members.
func (p *RosterPart) Frame() (frame, members []byte) {
	const end = `],"more":true}`
	size := len(`{"event":"presence.state","channel":"","part":,"members":[`) + len(p.Channel) + 20 + len(p.Members) + len(end)
	frame = p.Append(make([]byte, 0, size))
	to := len(frame) - len(end)
	return frame, frame[to-len(p.Members) : to]
}
