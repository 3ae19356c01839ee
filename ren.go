package realtime

import (
	"encoding/json"
	"fmt"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// RenEvent is one thing that happened, as browsers and handlers see it.
type RenEvent struct {
	// Type is what happened: "kv.put", "db.document.created", …, or a type of your own.
	Type string `json:"t"`
	// Resource is the domain it happened in: "kv", "db", "storage", "realtime",
	// "presence", or one of your own with 1 to 64 characters of [A-Za-z0-9._-].
	Resource string `json:"r"`
	// Key names what changed: KV key, document id, object path.
	Key string `json:"k,omitempty"`
	// Version is an opaque version (an etag, a revision) of what changed, never
	// its value.
	Version string `json:"v,omitempty"`
	// UnixMilli is when it happened, in milliseconds since the Unix epoch.
	UnixMilli int64 `json:"ts,omitempty"`
	// Source is the tag of the client that caused the event, by which a client
	// recognises its own events. It is a one-way hash of the client id.
	Source string `json:"src,omitempty"`
	// Namespace is the KV namespace or DB collection.
	Namespace string `json:"ns,omitempty"`
	// Channel is that of a message or presence event.
	Channel string `json:"ch,omitempty"`
	// Data is the payload of a message, {"metadata":…,"reason":…} of a presence
	// event, or what you give your own events.
	Data json.RawMessage `json:"data,omitempty"`
	// User is the publisher of a message, or the member of a presence event.
	User string `json:"uid,omitempty"`
}

// Validate returns an [ErrBadEvent] if [Realtime.Emit] would refuse the event. It does
// not check the size of the data, which [Limits] bound. Call it before the commit of a
// transaction whose event you emit afterwards.
func (ev RenEvent) Validate() error {
	if err := ev.check(); err != nil || ev.Data == nil {
		return err
	}
	if _, err := wire.Compact(ev.Data); err != nil {
		return fault.Errorf("%w: data: %w", ErrBadEvent, err)
	}
	return nil
}

// check is Validate without the data.
func (ev *RenEvent) check() error {
	switch {
	case !wire.ValidDomain(ev.Resource):
		return fmt.Errorf("%w: resource %s is not 1 to 64 characters of A-Z a-z 0-9 . _ -", ErrBadEvent, wire.Quote(ev.Resource))
	case !wire.ValidChannel(ev.Type):
		return fmt.Errorf("%w: type %s: %s", ErrBadEvent, wire.Quote(ev.Type), wire.NameFault(ev.Type))
	case backend.InChannel(ev.Resource):
		return fmt.Errorf("%w: %s events come from Publish and Presence", ErrBadEvent, ev.Resource)
	case !backend.IsTypeOf(ev.Resource, ev.Type):
		return fmt.Errorf("%w: %s is the type of another resource's events than %s", ErrBadEvent, wire.Quote(ev.Type), wire.Quote(ev.Resource))
	case ev.Channel != "":
		return fmt.Errorf("%w: only messages and presence have a channel", ErrBadEvent)
	}
	for _, f := range [...]struct{ name, value string }{{"key", ev.Key}, {"version", ev.Version}, {"namespace", ev.Namespace}, {"user", ev.User}} {
		if !wire.ValidText(f.value) {
			return fmt.Errorf("%w: %s %s: %s", ErrBadEvent, f.name, wire.Quote(f.value), wire.NameFault(f.value))
		}
	}
	return nil
}

// Decode decodes the event's data, which is JSON. Errors are those of
// [json.Unmarshal], wrapped with the type of the event; an event without data is an
// error as well.
func Decode[T any](ev RenEvent) (T, error) {
	var v T
	if err := json.Unmarshal(ev.Data, &v); err != nil {
		return v, fault.Errorf("realtime: decode %s: %w", ev.Type, err)
	}
	return v, nil
}

// KVPut returns the event of a key that was written.
func KVPut(namespace, key string) RenEvent { return kvEvent(backend.KVPut, namespace, key) }

// KVDelete returns the event of a key that was deleted.
func KVDelete(namespace, key string) RenEvent { return kvEvent(backend.KVDelete, namespace, key) }

// KVExpired returns the event of a key that has expired.
func KVExpired(namespace, key string) RenEvent { return kvEvent(backend.KVExpired, namespace, key) }

func kvEvent(typ, namespace, key string) RenEvent {
	return RenEvent{Type: typ, Resource: backend.KV, Namespace: namespace, Key: key}
}

// DocumentCreated returns the event of a document that was added to a collection.
func DocumentCreated(collection, id string) RenEvent {
	return documentEvent(backend.DocumentCreated, collection, id)
}

// DocumentUpdated returns the event of a document that was changed.
func DocumentUpdated(collection, id string) RenEvent {
	return documentEvent(backend.DocumentUpdated, collection, id)
}

// DocumentDeleted returns the event of a document that was removed from a collection.
func DocumentDeleted(collection, id string) RenEvent {
	return documentEvent(backend.DocumentDeleted, collection, id)
}

func documentEvent(typ, collection, id string) RenEvent {
	return RenEvent{Type: typ, Resource: backend.DB, Namespace: collection, Key: id}
}

// ObjectCreated returns the event of an object that was stored at a new path.
func ObjectCreated(path string) RenEvent { return objectEvent(backend.ObjectCreated, path) }

// ObjectUpdated returns the event of an object that was replaced.
func ObjectUpdated(path string) RenEvent { return objectEvent(backend.ObjectUpdated, path) }

// ObjectDeleted returns the event of an object that was removed.
func ObjectDeleted(path string) RenEvent { return objectEvent(backend.ObjectDeleted, path) }

func objectEvent(typ, path string) RenEvent {
	return RenEvent{Type: typ, Resource: backend.Storage, Key: path}
}

// WithVersion returns the event with a version.
func (ev RenEvent) WithVersion(version string) RenEvent {
	ev.Version = version
	return ev
}
