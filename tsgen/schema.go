package tsgen

import "reflect"

// Schema is what a host sends. Messages, presences and data in it are values that
// stand for their types, such as Message{}; a pointer stands for what it points to.
type Schema struct {
	// Channels are the channels by name, with {placeholders} for parts that vary:
	// "room:{id}". A placeholder stands for any text, colons included: a name that
	// several of them match may carry the types of each.
	Channels map[string]Channel
	// Events are the events of the host's own resources, for Realtime.Emit.
	Events []Event
	// Types says of some types what reflection cannot: see [Enum], [As] and [Name].
	Types []Type
}

// Channel is what travels in a channel.
type Channel struct {
	// Message is what is published, or [ByType] if it is one of several. Nil: the
	// channel has only presence. Use a [encoding/json.RawMessage] for anything at all.
	Message any
	// Presence is the metadata of those who are present. Nil: nobody is.
	Presence any
}

// ByType is the Message of a channel with several kinds of message: structs with
// a JSON member "type" that tells which, by the values that are the keys here.
// TypeScript narrows them by it, as ChannelMatch.Type does.
type ByType map[string]any

// Event is an event of the host's own resources. Keys, versions, namespaces and
// users are strings or absent, as the host's events have them.
type Event struct {
	Resource string // as in RenEvent.Resource; not one of the library's own
	Type     string // as in RenEvent.Type
	// Data is the payload, absent for streams whose grant is without data. Nil:
	// there is none.
	Data any
}

// Type says how one Go type is declared. Make it with [Enum], [As] or [Name]; one
// type may have a Name and one of the others.
type Type struct {
	of     reflect.Type
	name   string
	as     string
	enum   bool
	values []any
}

// Enum lists the values that a type has, typically the constants of a string
// type, and makes it the union of what they encode as.
func Enum[T any](values ...T) Type {
	t := Type{of: reflect.TypeFor[T](), enum: true}
	for _, v := range values {
		t.values = append(t.values, v)
	}
	return t
}

// As gives a type in TypeScript's terms, such as "string" or "[number, number]",
// typically one that encodes itself.
func As[T any](typescript string) Type {
	return Type{of: reflect.TypeFor[T](), as: typescript}
}

// Name gives the declaration of a type another name than in Go, as where two
// packages have a type of the same name.
func Name[T any](name string) Type {
	return Type{of: reflect.TypeFor[T](), name: name}
}
