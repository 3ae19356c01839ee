package presence

import (
	"encoding/json"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// MemberOf returns the member that a presence event tells of.
func MemberOf(ev *backend.Event) Member {
	var data struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	_ = json.Unmarshal(ev.Data, &data) // as NewEvent writes it
	return Member{User: ev.User, Metadata: data.Metadata, LastSeen: time.UnixMilli(ev.UnixMilli)}
}

// Join returns the presence.join of a member.
func (m Member) Join(channel string) backend.Event {
	return NewEvent(backend.PresenceJoin, channel, m.User, m.Metadata, "", m.LastSeen)
}
