package session_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// renders has the stream render what it tells, except what is at a place: events under
// their number, "bare" if they have no data, and everything as "ren.all".
func (s *stream) renders(except uint64) {
	s.Render = func(dst []byte, pos backend.Position, ev *backend.Event) ([]byte, bool) {
		if pos.Seq == except {
			return append(dst, "half of it"...), false
		}
		if ev == nil {
			return sse.AppendEvent(dst, "ren.all", wire.Cursor(pos), []byte("{}")), true
		}
		text := `{"data":1}`
		if ev.Data == nil {
			text = `{}`
		}
		return sse.AppendEvent(dst, "", wire.Cursor(pos), []byte(text)), true
	}
}

// What cannot be rendered is the last that is told, also of what was handed over with it; what
// is rendered is counted, and nothing else.
func TestRenderedAndCounted(t *testing.T) {
	for except, want := range map[uint64]string{0: "", 2: "@1", 99: "@1, @2, @4"} {
		h := newHistory(roomy)
		s := newStream(t, h)
		s.renders(except)
		s.Do(func() { s.Begin(nil, &view{hidden: map[string]bool{"bob": true}}, topics("kv"), session.Hello{}) })
		s.Do(func() { s.Ping(1) })
		if got := s.told(); (got == "") != (except == 0) {
			t.Errorf("except %d, at the beginning: %s", except, got)
		}
		h.keyed("a", "b")
		h.add(backend.Event{Type: "kv.put", Resource: "kv", User: "bob"})
		h.keyed("c")
		out, _ := s.fill()
		got := shortStream(t, out)
		if expect(t, fmt.Sprint("except ", except), got, want); s.buf.Told.Events != strings.Count(want, "@") {
			t.Errorf("%d events were told, counted: %d", strings.Count(want, "@"), s.buf.Told.Events)
		}
	}
}

// renderCases are what a stream tells that renders, and how it ends.
var renderCases = map[string]struct {
	except uint64
	do     func(s *stream, h *history)
	want   string
	end    string
}{
	"everything, then what happens": {99, func(s *stream, h *history) {
		h.put("kv")
		s.begin("", "kv", "bare")
		s.run()
		h.put("kv", "bare", "other")
	}, "@2, @3 bare", "bye revoked @5"},
	"fresh": {99, func(s *stream, h *history) {
		h.put("kv")
		s.begin("", "kv")
	}, "hello fresh kv @1, all @1", "bye revoked @2"},
	"resumed": {99, func(s *stream, h *history) {
		h.put("kv")
		s.begin(wire.Cursor(at(0)), "kv")
	}, "hello resumed kv @0, @1", "bye revoked @2"},
	"outrun": {99, func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.put("kv", "kv", "kv", "kv", "kv", "kv", "kv", "kv", "kv")
	}, "reset evicted @9, all @9", "bye revoked @10"},
	"a domain is lost": {99, func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.add(backend.Event{Type: backend.Reset, Resource: "kv"})
	}, "reset backend @1, all @1", "bye revoked @2"},
	"not everything": {1, func(s *stream, h *history) {
		h.put("kv")
		s.begin("", "kv")
	}, "", "bye revoked"},
	"not an event": {3, func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.put("kv", "kv", "kv", "kv")
	}, "@1, @2", "bye revoked @2"},
	"not after a reset": {10, func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.Reset(at(10))
		h.put("kv")
	}, "", "bye revoked"},
	"not after a domain was lost": {2, func(s *stream, h *history) {
		s.begin("", "kv")
		s.run()
		h.put("kv")
		h.add(backend.Event{Type: backend.Reset, Resource: "kv"})
		h.put("kv")
	}, "@1", "bye revoked"},
}

// What a stream tells that renders, and that nothing follows what cannot be rendered except
// the end, after which the client lacks nothing.
func TestRender(t *testing.T) {
	revoked := session.Ending{Reason: "revoked", Retry: time.Second}
	for name, c := range renderCases {
		for size, budget := range budgets {
			t.Run(name+"/"+size, func(t *testing.T) {
				h := newHistory(ring.Limits{Records: 8, Bytes: 1 << 20, Age: time.Hour})
				s := newStream(t, h)
				s.budget = budget
				s.renders(c.except)
				c.do(s, h)
				expect(t, "told", s.told(), c.want)
				if h.put("other"); c.except < 99 {
					h.put("kv")
					s.Do(func() { s.Ping(1) })
				}
				expect(t, "told later", s.told(), "")
				s.Bye(revoked)
				expect(t, "told in the end", s.told(), c.end)
				expect(t, "told after it", s.told(), "")
			})
		}
	}
}
