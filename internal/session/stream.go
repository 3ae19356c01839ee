package session

import (
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// Stream is a REN stream. It has one cursor for all of its topics.
type Stream struct {
	Session
	view    View
	granted uint64 // the turn of the grants that it carries

	// Render, if set, appends what the client gets in the place of an event, or, with
	// nil, of everything that has happened up to a place. Fill calls it. Where it does
	// not, done is false: then the stream tells nothing more until it ends.
	Render func(dst []byte, pos backend.Position, ev *backend.Event) (_ []byte, done bool)
	forget bool // the client must not come back with a cursor
}

// ForgetCursor has the client come back without a cursor when the stream ends.
func (s *Stream) ForgetCursor() { s.forget = true }

// NewStream returns a stream that carries nothing yet. wake is called, from any
// goroutine, when Fill has something to tell after it had nothing. It must be fast
// and must not block.
func NewStream(r *ring.Ring, wake func()) *Stream {
	s := new(Stream)
	s.init(s, r, wake)
	return s
}

// Hello is what a stream says of itself when it begins.
type Hello struct {
	Domains   []string // that it carries; "*" stands for all that the view lets through
	Src       string   // the client's tag, or ""
	User      string
	ExpiresIn *int64 // milliseconds; nil for never
}

// Retry tells the client how long to wait before it comes back, if no bye says so.
func (s *Stream) Retry(wait time.Duration) { s.buf.out = sse.AppendRetry(s.buf.out, wait) }

// Begin subscribes to topics, which must have all that the view lets through, and says
// how the stream goes on after since: see [wire.Since].
func (s *Stream) Begin(since *backend.Position, v View, topics []ring.Topic, h Hello) {
	s.view = v
	start := s.subscribe(since, topics...)
	s.pos = start.Pos
	hello := map[string]any{"state": start.State, "domains": h.Domains}
	if start.Reason != "" {
		hello["reason"] = start.Reason
	}
	if h.Src != "" {
		hello["src"] = h.Src
	}
	if h.User != "" {
		hello["userId"] = h.User
	}
	if h.ExpiresIn != nil {
		hello["expiresIn"] = *h.ExpiresIn
	}
	before := len(s.buf.out)
	s.control("ren.hello", hello)
	if start.State != ring.Resumed {
		s.all(start.Pos, before)
	}
}

// all renders everything. If that is not done, what was said since before is not said:
// it has a cursor.
func (s *Stream) all(pos backend.Position, before int) {
	if s.Render == nil {
		return
	}
	out, done := s.Render(s.buf.out, pos, nil)
	if s.buf.out = out; !done {
		s.buf.out, s.stuck, s.forget = s.buf.out[:before], true, true
	}
}

// render renders an event. If that is not done, the stream is complete up to the place
// before it.
func (s *Stream) render(pos backend.Position, ev backend.Event) (done bool) {
	if s.buf.out, done = s.Render(s.buf.out, pos, &ev); !done {
		s.stuck, s.pos = true, pos
		s.pos.Seq--
	}
	return done
}

// Newest reports whether the policy has not answered a later question than that of
// turn: see Session.Turn.
func (s *Stream) Newest(turn uint64) bool {
	if turn < s.granted {
		return false
	}
	s.granted = turn
	return true
}

// Regrant goes on where the stream is, with other grants.
func (s *Stream) Regrant(v View, topics []ring.Topic, h Hello) {
	old := s.reader
	defer old.Close() // after the other has begun: so topics of both stay known
	s.read()
	s.Begin(&s.pos, v, topics, h)
}

// Ping says that the stream lives. now is in milliseconds since the Unix epoch.
func (s *Stream) Ping(now int64) { s.buf.out = wire.AppendPing(s.buf.out, s.pos, now) }

// control appends a control event, with the cursor up to which the stream is
// complete.
func (s *Stream) control(name string, members map[string]any) { s.controlAt(s.pos, name, members) }

func (s *Stream) controlAt(pos backend.Position, name string, members map[string]any) {
	s.buf.out = wire.AppendControl(s.buf.out, name, pos, members)
}

// reset implements form. Domains are reset one by one, before the events of a batch
// of the reader. A client has one cursor for all of them: so it is told once, with a
// cursor that leaves out none of the events.
func (s *Stream) reset(first ring.Item) {
	if s.told > 0 && s.items[s.told-1].Entry == nil {
		return
	}
	pos, before := s.pos, len(s.buf.out)
	for _, it := range s.items[s.told:] {
		if it.Entry != nil {
			pos = it.Pos
			pos.Seq--
			break
		}
	}
	s.toldReset(first.Reason)
	s.controlAt(pos, "ren.reset", map[string]any{"reason": first.Reason})
	s.all(pos, before)
}

func (s *Stream) event(e *ring.Entry) {
	if e.Event.IsReset() {
		s.toldReset(ring.Lost)
		before := len(s.buf.out)
		s.controlAt(e.Pos, "ren.reset", map[string]any{"reason": ring.Lost})
		s.all(e.Pos, before)
		return
	}
	seen, data := s.view.Stream(&e.Event)
	switch {
	case !seen:
		return
	case s.Render != nil:
		ev := e.Event
		if !data {
			ev.Data = nil
		}
		if !s.render(e.Pos, ev) {
			return
		}
	case data || e.Event.Data == nil:
		s.buf.out = append(s.buf.out, e.Encoded(ring.FormREN, wire.REN)...)
	default:
		s.buf.out = append(s.buf.out, e.Encoded(ring.FormRENBare, wire.RENBare)...)
	}
	s.toldEvent(e)
}

func (s *Stream) part() ([]byte, bool) { return nil, false }

func (s *Stream) abandon() {}

func (s *Stream) bye(how *Ending) {
	if how.Reason == "" {
		return
	}
	if how.Retry > 0 {
		s.Retry(how.Retry)
	}
	said := map[string]any{"reason": how.Reason, "retryMs": how.Retry.Milliseconds()}
	if s.forget {
		s.buf.out = wire.AppendLast(s.buf.out, "ren.bye", said)
		return
	}
	s.control("ren.bye", said)
}
