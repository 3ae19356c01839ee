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

// The resources of what the library's stores write, and the types of those events.
const (
	KV        = "kv"
	KVPut     = "kv.put"
	KVDelete  = "kv.delete"
	KVExpired = "kv.expired"

	DB              = "db"
	DocumentCreated = "db.document.created"
	DocumentUpdated = "db.document.updated"
	DocumentDeleted = "db.document.deleted"

	Storage       = "storage"
	ObjectCreated = "storage.object.created"
	ObjectUpdated = "storage.object.updated"
	ObjectDeleted = "storage.object.deleted"
)

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

// IsPresence reports whether ev tells of a member of a channel.
func (ev *Event) IsPresence() bool { return ev.Resource == Presence }

// IsLeave reports whether ev tells that a member is gone.
func (ev *Event) IsLeave() bool { return ev.Type == PresenceLeave }

// InChannel reports whether events of a resource are of channels: messages, and who
// is there.
func InChannel(resource string) bool { return resource == Realtime || resource == Presence }

// Logged is an event at its place in the log, as a node reads it. A record that a
// node cannot or must not show is Logged without a Resource: it keeps its place, and
// no view shows it.
type Logged struct {
	Pos   Position
	Event Event
	Depth int // how many handlers in a row led to it
}
