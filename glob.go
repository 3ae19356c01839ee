package realtime

import (
	"fmt"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/match"
)

// EventMatch selects events. Each field is a pattern, in which '*' matches any run of
// characters, ':' included; "" matches everything. See [ErrBadPattern].
type EventMatch struct {
	Resource  string
	Type      string
	Namespace string
	Key       string
	Channel   string
}

func (m EventMatch) compile() (s match.Selector, err error) {
	for _, f := range []struct {
		name, pattern string
		to            *match.Pattern
	}{
		{"Resource", m.Resource, &s.Resource},
		{"Type", m.Type, &s.Type},
		{"Namespace", m.Namespace, &s.Namespace},
		{"Key", m.Key, &s.Key},
		{"Channel", m.Channel, &s.Channel},
	} {
		if *f.to, err = match.Compile(f.pattern); err != nil {
			return s, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return s, nil
}

// Match reports whether an event matches. The error is [ErrBadPattern]. It
// compiles the patterns each time: for a loop over all events use
// [Realtime.Events].
func (m EventMatch) Match(ev RenEvent) (bool, error) {
	sel, err := m.compile()
	return err == nil && sel.Matches((*backend.Event)(&ev)), err
}

// ChannelMatch selects messages by their channel and their type, which are patterns.
// The type of a message is the top-level member "type" of its data. The pattern ""
// matches all messages, including those without a type. The type "presence" also
// selects the channel's presence.join, presence.update and presence.leave.
type ChannelMatch struct {
	Channel string
	Type    string
}

// KVMatch selects writes of keys. Namespace and Key are patterns.
type KVMatch struct {
	Namespace string
	Key       string
	Op        string // "put", "delete" or "expired"; "": all
}

// DBMatch selects writes of documents. Collection and Key are patterns.
type DBMatch struct {
	Collection string
	Key        string // the document's id
	Op         string // "created", "updated" or "deleted"; "": all
}

// StorageMatch selects writes of objects. Key, the path, is a pattern.
type StorageMatch struct {
	Key string
	Op  string // "created", "updated" or "deleted"; "": all
}
