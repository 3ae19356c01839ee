package backend

import (
	"encoding/json"
	"time"
)

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

// resources are those of the types that the library itself gives events.
var resources = map[string]string{
	KVPut: KV, KVDelete: KV, KVExpired: KV,
	DocumentCreated: DB, DocumentUpdated: DB, DocumentDeleted: DB,
	ObjectCreated: Storage, ObjectUpdated: Storage, ObjectDeleted: Storage,
	Message: Realtime, PresenceJoin: Presence, PresenceUpdate: Presence, PresenceLeave: Presence,
}

// IsTypeOf reports whether an event of a resource may have a type. A type of the library's
// own events is of its own resource only, since views and handlers know these events by
// their type. Any other type may be of any resource.
func IsTypeOf(resource, typ string) bool {
	of, own := resources[typ]
	return !own || of == resource
}

// Reset is the type of a control record whose Key is a domain: events of the domain
// were lost before this place of the log, and nobody knows which. Views of the domain
// are reset there. Nodes of older releases ignore it.
const Reset = "$reset"

// ResetOf returns the payload of a record that resets a domain, for a source of events
// that has lost its place. It takes effect in log order, for those who resume after it too.
func ResetOf(domain string) Payload {
	return Payload{Event: Event{Resource: Control, Type: Reset, Key: domain, UnixMilli: time.Now().UnixMilli()}}
}

// IsReset reports whether ev stands for lost events of its domain, as a node reads a
// control record of type [Reset].
func (ev *Event) IsReset() bool { return ev.Type == Reset }

// IsPresence reports whether ev tells of a member of a channel.
func (ev *Event) IsPresence() bool { return ev.Resource == Presence }

// IsLeave reports whether ev tells that a member is gone.
func (ev *Event) IsLeave() bool { return ev.Type == PresenceLeave }

// InChannel reports whether events of a resource are of channels: messages, and who
// is there.
func InChannel(resource string) bool { return resource == Realtime || resource == Presence }

// Name returns what an event is about: its channel, or else its key.
func (ev *Event) Name() string {
	if InChannel(ev.Resource) {
		return ev.Channel
	}
	return ev.Key
}

// Separator returns what separates the segments of the names in a resource.
func Separator(resource string) string {
	if resource == Storage {
		return "/"
	}
	return ":"
}

// Logged is an event at its place in the log, as a node reads it. A record that a
// node cannot or must not show is Logged without a Resource: it keeps its place, and
// no view shows it.
type Logged struct {
	Pos   Position
	Event Event
	Depth int // how many handlers in a row led to it
	Trace Trace

	// Live is what a record without a Resource tells those who listen now, and no history
	// keeps. Each is at the place of the record.
	Live []*Logged
	// Ephemeral marks one of Live. A newer one of the same channel, user and Kind
	// replaces it.
	Ephemeral bool
	Kind      string
}
