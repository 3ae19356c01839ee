package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// EventMatch selects events. Each field is a pattern, in which '*' stands for
// any run of characters, ':' included; "" matches everything. See [ErrBadPattern].
type EventMatch struct {
	Resource  string
	Type      string
	Namespace string
	Key       string
	Channel   string
}

// selector is a compiled EventMatch.
type selector struct {
	resource, typ, namespace, key, channel matcher
}

func (m EventMatch) compile() (s selector, err error) {
	for _, f := range []struct {
		name, pattern string
		to            *matcher
	}{
		{"Resource", m.Resource, &s.resource},
		{"Type", m.Type, &s.typ},
		{"Namespace", m.Namespace, &s.namespace},
		{"Key", m.Key, &s.key},
		{"Channel", m.Channel, &s.channel},
	} {
		if *f.to, err = compile(f.pattern); err != nil {
			return s, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return s, nil
}

func (s *selector) matches(ev *RenEvent) bool {
	return s.resource.Match(ev.Resource) && s.typ.Match(ev.Type) && s.namespace.Match(ev.Namespace) &&
		s.key.Match(ev.Key) && s.channel.Match(ev.Channel)
}

// Match reports whether an event matches. The error is [ErrBadPattern]. It
// compiles the patterns each time: loops that see every event want
// [Realtime.Events].
func (m EventMatch) Match(ev RenEvent) (bool, error) {
	sel, err := m.compile()
	return err == nil && sel.matches(&ev), err
}

// ChannelMatch selects messages by their channel, a pattern, and by the "type"
// that the published data, a JSON object, has at its top. Type is a pattern as
// well; "" matches all messages, also those without a type. The type "presence"
// selects the channel's presence.join, presence.update and presence.leave as well.
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

// EventHandler reacts to one event. An error, or a panic, has it called again: see
// [GroupOptions]. It returns soon after ctx has ended. What it publishes, emits
// and joins with ctx carries no client's mark, and counts against loops: see
// [ErrLoop].
type EventHandler func(ctx context.Context, ev RenEvent) error

// Typed returns an EventHandler that gets the event's data decoded. Data that cannot be
// decoded is an [ErrPermanent].
func Typed[T any](f func(ctx context.Context, ev RenEvent, data T) error) EventHandler {
	return func(ctx context.Context, ev RenEvent) error {
		data, err := Decode[T](ev)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrPermanent, err)
		}
		return f(ctx, ev, data)
	}
}

// OnChannel has h called for messages. See [Realtime.OnEvent].
func (rt *Realtime) OnChannel(match ChannelMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnChannel(match, h) })
}

// OnKVChange has h called for writes of keys. See [Realtime.OnEvent].
func (rt *Realtime) OnKVChange(match KVMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnKVChange(match, h) })
}

// OnDBChange has h called for writes of documents. See [Realtime.OnEvent].
func (rt *Realtime) OnDBChange(match DBMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnDBChange(match, h) })
}

// OnStorage has h called for writes of objects. See [Realtime.OnEvent].
func (rt *Realtime) OnStorage(match StorageMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnStorage(match, h) })
}

// OnEvent has h called for each event that matches, from now on until
// Close. Events of one channel, or of one key in its namespace, are handled one
// after another in the order of the log, those of others meanwhile.
//
// Handlers registered on a Realtime are a group of this process, with
// [Options].Groups, which is what they can be on a backend of one process. On
// one of many, where each event is to be handled once, not once by each process,
// the group needs a name: see [Realtime.Group].
//
// Errors: [ErrBadPattern], also for an Op that there is not, [ErrBadGroup] where a
// name is needed, [ErrClosed].
func (rt *Realtime) OnEvent(match EventMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnEvent(match, h) })
}

// DefineEvent is [Realtime.OnEvent], by the name that the platform's TypeScript
// functions have for it.
func (rt *Realtime) DefineEvent(match EventMatch, h EventHandler) error { return rt.OnEvent(match, h) }

// OnChannel is [Realtime.OnChannel] in this group.
func (g *Group) OnChannel(match ChannelMatch, h EventHandler) error {
	r := rule{handle: h, presence: match.Type == "presence"}
	var err error
	r.selector, err = EventMatch{Resource: "realtime", Type: "realtime.message", Channel: match.Channel}.compile()
	if err == nil && match.Type != "" {
		if r.dataType, err = compile(match.Type); err != nil {
			err = fmt.Errorf("type of data: %w", err)
		}
	}
	return g.add(&r, err)
}

// OnKVChange is [Realtime.OnKVChange] in this group.
func (g *Group) OnKVChange(match KVMatch, h EventHandler) error {
	return g.on("kv.", match.Op, []string{"put", "delete", "expired"},
		EventMatch{Resource: "kv", Namespace: match.Namespace, Key: match.Key}, h)
}

// OnDBChange is [Realtime.OnDBChange] in this group.
func (g *Group) OnDBChange(match DBMatch, h EventHandler) error {
	return g.on("db.document.", match.Op, []string{"created", "updated", "deleted"},
		EventMatch{Resource: "db", Namespace: match.Collection, Key: match.Key}, h)
}

// OnStorage is [Realtime.OnStorage] in this group.
func (g *Group) OnStorage(match StorageMatch, h EventHandler) error {
	return g.on("storage.object.", match.Op, []string{"created", "updated", "deleted"},
		EventMatch{Resource: "storage", Key: match.Key}, h)
}

// OnEvent is [Realtime.OnEvent] in this group.
func (g *Group) OnEvent(match EventMatch, h EventHandler) error {
	sel, err := match.compile()
	return g.add(&rule{selector: sel, handle: h}, err)
}

// DefineEvent is [Group.OnEvent], as [Realtime.DefineEvent] is [Realtime.OnEvent].
func (g *Group) DefineEvent(match EventMatch, h EventHandler) error { return g.OnEvent(match, h) }

// on registers h for one of the known operations, or all of them.
func (g *Group) on(family, op string, known []string, match EventMatch, h EventHandler) error {
	if match.Type = family + "*"; op != "" {
		match.Type = family + op
		if !slices.Contains(known, op) {
			return fmt.Errorf("%w: Op %s is none of %q", ErrBadPattern, wire.Quote(op), known)
		}
	}
	return g.OnEvent(match, h)
}

// rule is a handler and what it is for.
type rule struct {
	selector
	dataType matcher          // of the data of messages; nil: any
	presence bool             // of the channel, too
	order    int              // of registration
	from     backend.Position // what happened up to here is not for it
	handle   EventHandler
}

func (r *rule) matches(s *subject) bool {
	if r.presence && s.Resource == "presence" {
		return r.channel.Match(s.Channel)
	}
	return r.selector.matches(s.RenEvent) && (r.dataType == nil || r.dataType.Match(s.dataType()))
}

// subject is an event that rules are asked about. The type of its data is read
// once, if any of them wants to know.
type subject struct {
	*RenEvent
	typ  string
	read bool
}

func (s *subject) dataType() string {
	if !s.read {
		s.typ, s.read = typeOf(s.Data), true
	}
	return s.typ
}

// typeOf returns the string that data, a JSON object, has as its "type", exactly
// spelled; of several the last one, as JSON.parse does. Else it returns "".
func typeOf(data json.RawMessage) (typ string) {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) == nil && json.Unmarshal(members["type"], &typ) == nil {
		return typ
	}
	return ""
}
