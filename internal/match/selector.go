package match

import (
	"encoding/json"

	"github.com/maravilla-realtime/realtime/backend"
)

// Selector selects events: those whose fields all match.
type Selector struct {
	Resource, Type, Namespace, Key, Channel Pattern
}

// Matches reports whether s selects an event.
func (s *Selector) Matches(ev *backend.Event) bool {
	return s.Resource.Match(ev.Resource) && s.Type.Match(ev.Type) && s.Namespace.Match(ev.Namespace) &&
		s.Key.Match(ev.Key) && s.Channel.Match(ev.Channel)
}

// MayMatchIn reports whether s can select events of a domain, which are of no channel.
func (s *Selector) MayMatchIn(domain string) bool {
	return s.Resource.Match(domain) && s.Channel.Match("")
}

// Rule is a Selector for the use in an [Index], where the data of messages counts.
type Rule struct {
	Selector
	DataType Pattern // of the data of messages; nil: any
	Presence bool    // the presence events of the channel are selected as well
}

func (r *Rule) matches(s *subject) bool {
	if r.Presence && s.IsPresence() {
		return r.Channel.Match(s.Channel)
	}
	return r.Selector.Matches(s.Event) && (r.DataType == nil || r.DataType.Match(s.dataType()))
}

// subject is an event that rules are asked about. The type of its data is read
// once, if any of them wants to know.
type subject struct {
	*backend.Event
	typ  string
	read bool
}

func (s *subject) dataType() string {
	if !s.read {
		s.typ, s.read = TypeOf(s.Data), true
	}
	return s.typ
}

// TypeOf returns the string that data, a JSON object, has as its "type", exactly
// spelled; of several the last one, as JSON.parse does. Else it returns "".
func TypeOf(data json.RawMessage) (typ string) {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) == nil && json.Unmarshal(members["type"], &typ) == nil {
		return typ
	}
	return ""
}
