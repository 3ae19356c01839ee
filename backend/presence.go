package backend

import (
	"bytes"
	"encoding/json"
	"time"
)

// JoinEvent is what a driver appends when the first session of a member joins.
func JoinEvent(s Session, now time.Time) Event {
	return presenceEvent("presence.join", s, "", now)
}

// UpdateEvent is what a driver appends when a member's metadata changes.
func UpdateEvent(s Session, now time.Time) Event {
	return presenceEvent("presence.update", s, "", now)
}

// LeaveEvent is what a driver appends when the last session s of a member
// ends. s.Metadata is the member's.
func LeaveEvent(s Session, why Reason, now time.Time) Event {
	return presenceEvent("presence.leave", s, why, now)
}

func presenceEvent(typ string, s Session, why Reason, now time.Time) Event {
	return Event{
		Type:      typ,
		Resource:  "presence",
		Channel:   s.Channel,
		User:      s.User,
		Source:    s.Source,
		UnixMilli: now.UnixMilli(),
		Data:      presenceData(s.Metadata, why),
	}
}

// presenceData writes {"metadata":…,"reason":…}, each only where there is one.
// Reasons are constants that need no escaping.
func presenceData(metadata json.RawMessage, why Reason) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	if len(metadata) > 0 {
		b.WriteString(`"metadata":`)
		b.Write(metadata)
		if why != "" {
			b.WriteByte(',')
		}
	}
	if why != "" {
		b.WriteString(`"reason":"`)
		b.WriteString(string(why))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.Bytes()
}
