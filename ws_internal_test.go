package realtime

import (
	"log/slog"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// A connection that ends between a resumed subscription and its replay must not
// say, in its bye, that it is complete.
func TestPositionOfAResumedSubscription(t *testing.T) {
	at := func(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }
	r := ring.New(ring.Limits{Records: 10, Bytes: 1 << 20, Age: time.Hour}, at(0))
	for seq := range uint64(5) {
		r.Put([]*backend.Record{{Pos: at(seq + 1), Entry: backend.Entry{Event: backend.Event{
			Resource: "realtime", Channel: "room", UnixMilli: time.Now().UnixMilli(),
		}}}})
	}
	rt := &Realtime{ring: r, log: slog.New(slog.DiscardHandler), opts: (*Options)(nil).withDefaults()}
	s := &socket{rt: rt, reader: r.NewReader(), channels: map[string]following{}, pos: at(5)}
	s.subscribe(wire.Op{Channel: "room", Since: wire.Cursor(at(1))})
	if s.pos != at(1) {
		t.Errorf("complete up to %v, though nothing behind %v was sent", s.pos, at(1))
	}
}
