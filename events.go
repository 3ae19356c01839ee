package realtime

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// EventHandler reacts to one event. After an error or a panic it is called again: see
// [GroupOptions]. It must return soon after ctx has ended, and may block until then.
// Events that it publishes, emits or causes with ctx name no client as their source,
// and count against loops: see [ErrLoop].
type EventHandler func(ctx context.Context, ev RenEvent) error

// Typed returns an EventHandler that gets the event's data decoded. Data that cannot be
// decoded is an [ErrPermanent].
func Typed[T any](f func(ctx context.Context, ev RenEvent, data T) error) EventHandler {
	return func(ctx context.Context, ev RenEvent) error {
		data, err := Decode[T](ev)
		if err != nil {
			return fault.Errorf("%w: %w", ErrPermanent, err)
		}
		return f(ctx, ev, data)
	}
}

// OnChannel registers h for messages. See [Realtime.OnEvent].
func (rt *Realtime) OnChannel(match ChannelMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnChannel(match, h) })
}

// OnKVChange registers h for writes of keys. See [Realtime.OnEvent].
func (rt *Realtime) OnKVChange(match KVMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnKVChange(match, h) })
}

// OnDBChange registers h for writes of documents. See [Realtime.OnEvent].
func (rt *Realtime) OnDBChange(match DBMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnDBChange(match, h) })
}

// OnStorage registers h for writes of objects. See [Realtime.OnEvent].
func (rt *Realtime) OnStorage(match StorageMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnStorage(match, h) })
}

// OnEvent registers h for each event that matches, from now on until Close. Events of
// one channel, or of one key in its namespace, are handled one after another in the
// order of the log. Events of other channels and keys are handled at the same time.
// OnEvent does not block.
//
// Handlers registered on a Realtime form the group of this process, with
// [Options].Groups. This needs a backend of one process. On a backend of several
// processes each of them would handle each event, so the handlers need a named group:
// see [Realtime.Group].
//
// Errors: [ErrBadPattern], also for an unknown Op; [ErrBadGroup] if the group needs a
// name; [ErrClosed]; and an error if h is nil.
func (rt *Realtime) OnEvent(match EventMatch, h EventHandler) error {
	return rt.local(func(g *Group) error { return g.OnEvent(match, h) })
}

// DefineEvent is [Realtime.OnEvent] under the name that it has in the platform's
// TypeScript functions.
func (rt *Realtime) DefineEvent(match EventMatch, h EventHandler) error { return rt.OnEvent(match, h) }

// OnChannel is [Realtime.OnChannel] in this group. The methods On… do not block. Their
// errors: [ErrBadPattern], also for an unknown Op; [ErrClosed]; and an error if h is
// nil.
func (g *Group) OnChannel(m ChannelMatch, h EventHandler) error {
	r := match.Rule{Presence: m.Type == backend.Presence}
	var err error
	r.Selector, err = EventMatch{Resource: backend.Realtime, Type: backend.Message, Channel: m.Channel}.compile()
	if err == nil && m.Type != "" {
		if r.DataType, err = match.Compile(m.Type); err != nil {
			err = fmt.Errorf("type of data: %w", err)
		}
	}
	return g.add(r, h, err)
}

// OnKVChange is [Realtime.OnKVChange] in this group. Errors: see [Group.OnChannel].
func (g *Group) OnKVChange(m KVMatch, h EventHandler) error {
	return g.on(m.Op, []string{backend.KVPut, backend.KVDelete, backend.KVExpired},
		EventMatch{Resource: backend.KV, Namespace: m.Namespace, Key: m.Key}, h)
}

// OnDBChange is [Realtime.OnDBChange] in this group. Errors: see [Group.OnChannel].
func (g *Group) OnDBChange(m DBMatch, h EventHandler) error {
	return g.on(m.Op, []string{backend.DocumentCreated, backend.DocumentUpdated, backend.DocumentDeleted},
		EventMatch{Resource: backend.DB, Namespace: m.Collection, Key: m.Key}, h)
}

// OnStorage is [Realtime.OnStorage] in this group. Errors: see [Group.OnChannel].
func (g *Group) OnStorage(m StorageMatch, h EventHandler) error {
	return g.on(m.Op, []string{backend.ObjectCreated, backend.ObjectUpdated, backend.ObjectDeleted},
		EventMatch{Resource: backend.Storage, Key: m.Key}, h)
}

// OnEvent is [Realtime.OnEvent] in this group. Errors: see [Group.OnChannel].
func (g *Group) OnEvent(m EventMatch, h EventHandler) error {
	sel, err := m.compile()
	return g.add(match.Rule{Selector: sel}, h, err)
}

// DefineEvent is [Group.OnEvent] under its TypeScript name.
func (g *Group) DefineEvent(match EventMatch, h EventHandler) error { return g.OnEvent(match, h) }

// on registers h for one operation, the last word of one of types, or for all of them.
func (g *Group) on(op string, types []string, m EventMatch, h EventHandler) error {
	family := types[0][:strings.LastIndexByte(types[0], '.')+1]
	if m.Type = family + "*"; op != "" {
		m.Type = family + op
		if !slices.Contains(types, m.Type) {
			return fmt.Errorf("%w: Op is %s, and must be the last word of one of %q, or empty", ErrBadPattern, wire.Quote(op), types)
		}
	}
	return g.OnEvent(m, h)
}
