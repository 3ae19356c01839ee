package presence

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fields"
	"github.com/maravilla-realtime/realtime/internal/jitter"
)

// member is the record of a member.
type member struct {
	lastSeen int64 // milliseconds since the Unix epoch
	metadata json.RawMessage
	sessions []sessionRecord
}

// sessionRecord is a session in the record of its member.
type sessionRecord struct{ id, node, source string }

// memberVersion is the first byte of a record. After it come the time as an unsigned
// varint, the metadata, and the fields of each session in turn, each with its length
// before it as an unsigned varint.
const memberVersion = 1

func (m *member) encode() []byte {
	b := binary.AppendUvarint([]byte{memberVersion}, uint64(m.lastSeen))
	b = fields.AppendText(b, m.metadata)
	for _, s := range m.sessions {
		b = fields.AppendText(fields.AppendText(fields.AppendText(b, s.id), s.node), s.source)
	}
	return b
}

// maxNode bounds the name of a node, which is part of a key: see [backend.Key].
const maxNode = 255

var errRecord = errors.New("presence: malformed record of a member")

func decodeMember(b []byte) (m member, err error) {
	if len(b) == 0 || b[0] != memberVersion {
		return m, errRecord
	}
	f := fields.Reader{Rest: b[1:]}
	m.lastSeen = int64(f.Number())
	if metadata := f.Text(); len(metadata) > 0 {
		m.metadata = metadata
	}
	named := true
	for len(f.Rest) > 0 {
		s := sessionRecord{string(f.Text()), string(f.Text()), string(f.Text())}
		m.sessions = append(m.sessions, s)
		named = named && 0 < len(s.node) && len(s.node) <= maxNode
	}
	if f.Bad || !named {
		return m, errRecord
	}
	return m, nil
}

// has reports whether the record has the session with this node and source.
func (m *member) has(id, node, source string) bool {
	return slices.Contains(m.sessions, sessionRecord{id, node, source})
}

// owner returns the node of a session, or "" if there is no such session.
func (m *member) owner(id string) string {
	for _, s := range m.sessions {
		if s.id == id {
			return s.node
		}
	}
	return ""
}

// put adds a session, or moves it to a node.
func (m *member) put(id, node, source string) {
	m.remove(func(s *sessionRecord) bool { return s.id == id })
	m.sessions = append(m.sessions, sessionRecord{id, node, source})
}

// remove removes the selected sessions, and returns the last of them, or nil.
func (m *member) remove(which func(*sessionRecord) bool) (removed *sessionRecord) {
	m.sessions = slices.DeleteFunc(m.sessions, func(s sessionRecord) bool {
		if !which(&s) {
			return false
		}
		removed = &s
		return true
	})
	return removed
}

const (
	leastPause = time.Millisecond
	mostPause  = 100 * time.Millisecond
)

// pause waits before a change is tried again, so that several writers of one record
// do not keep colliding.
func pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(leastPause + jitter.N(min(mostPause, leastPause<<min(attempt, 10))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
