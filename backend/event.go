package backend

import "encoding/json"

// Event is one thing that happened. Its exported fields are those of the public
// event (realtime.RenEvent), which documents them.
type Event struct {
	Type      string
	Resource  string
	Key       string
	Version   string
	UnixMilli int64
	Source    string
	Namespace string
	Channel   string
	Data      json.RawMessage
	User      string
}

// The resources and types of what channels carry.
const (
	Realtime = "realtime" // the resource of messages
	Message  = "realtime.message"

	Presence       = "presence" // the resource of the events of members
	PresenceJoin   = "presence.join"
	PresenceUpdate = "presence.update"
	PresenceLeave  = "presence.leave"

	Control = "$control" // the resource of what nodes tell each other; no view shows it
)

// Logged is an event at its place in the log, as a node reads it. A record that a
// node cannot or must not show is Logged without a Resource: it keeps its place, and
// no view shows it.
type Logged struct {
	Pos   Position
	Event Event
	Depth int // how many handlers in a row led to it
}
