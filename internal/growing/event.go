package growing

import (
	"encoding/json"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// nodeGone is why a message fails whose writer is dead.
func nodeGone() *wire.Error {
	e := wire.Errorf("unavailable", "the server that wrote this is gone")
	e.Retry = true
	return e
}

// idle is why a message fails that nobody writes any longer.
func idle() *wire.Error { return wire.Errorf("timeout", "nothing was written for too long") }

// message returns the message that tells a state. Only this package makes messages that
// have a Key.
func (b *Begin) message(data wire.StreamData, at int64) backend.Event {
	data.Stream, data.Run, data.Metadata = b.ID, b.Run, b.Metadata
	return backend.Event{
		Type: backend.Message, Resource: backend.Realtime, Channel: b.Channel, Key: b.ID, Version: data.State,
		User: b.User, Source: b.Source, UnixMilli: at, Data: data.Encode(),
	}
}

// beginning returns the message that tells that it has begun.
func (b *Begin) beginning() backend.Event {
	return b.message(wire.StreamData{State: string(Streaming)}, b.UnixMilli)
}

// ending returns the message that tells its end, with the content if whole is set and
// the data has at most so many bytes.
func (t *Text) ending(e End, limit int, whole bool) backend.Event {
	t.mu.Lock()
	kind, content := t.kind, t.content
	t.mu.Unlock()
	data := wire.StreamData{State: string(e.State), Error: e.Error}
	data.SetContent(kind, content)
	ev := t.message(data, e.UnixMilli)
	if whole && len(ev.Data) <= limit {
		return ev
	}
	data.Text, data.Items, data.Limit = "", nil, limit
	return t.message(data, e.UnixMilli)
}

// Beginning returns the message that tells its beginning, for those who decide who may
// see it.
func (t *Text) Beginning() backend.Event { return t.beginning() }

// Logged takes a message of the log that tells an end, in log order. It does not block.
func (g *Growing) Logged(ev *backend.Event) {
	id, state := wire.StreamOf(ev)
	if state == string(Streaming) {
		return
	}
	t := g.find(Key{ev.Channel, id})
	if t == nil {
		return
	}
	past, bytes := ended(ev)
	if past == nil || past.Run != t.Run {
		return
	}
	end := *past.end
	if t.own != nil {
		end.Partial = false
		t.own.lastWrite(end)
		g.cut(t, bytes)
		t.own.finish(end)
		return
	}
	g.finishCopy(t, past, end, bytes)
}

// ended returns the message whose end a message of the log tells, of nobody, and how
// many bytes its content has had; nil if there is none.
func ended(ev *backend.Event) (t *Text, bytes int) {
	var data wire.StreamData
	if json.Unmarshal(ev.Data, &data) != nil || data.Bytes == nil || data.Stream != ev.Key {
		return nil, 0
	}
	t = &Text{Begin: Begin{
		Key: Key{ev.Channel, ev.Key}, Run: data.Run, User: ev.User, Source: ev.Source, UnixMilli: ev.UnixMilli, Metadata: data.Metadata,
	}}
	t.kind, t.content = data.Content()
	t.told = len(t.content)
	t.end = &End{State: State(data.State), UnixMilli: ev.UnixMilli, Error: data.Error, Partial: len(t.content) != *data.Bytes}
	t.toldAt = time.Now()
	return t, *data.Bytes
}
