package realtime

import (
	"context"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// showing is a roster on its way to a client. Rosters may be large, and reading
// one may take long: so a goroutine of its own reads it, and the writer writes it
// part by part, between the events of other channels. What happens in its own
// channel waits until it has been sent. So all of that comes in log order, and no
// cursor a client has leaves anything out.
//
// It belongs to the writer.
type showing struct {
	channel string
	held    backend.Position   // the events of the channel go on after it
	cancel  context.CancelFunc // of the reading

	answers []pending   // to be given before the first part
	later   []pending   // of who asked while it was read: for the next one
	reset   *wire.Frame // to be told with the last part: see socket.reset
	must    bool        // the connection ends where the roster cannot be read

	walk *rosterWalk // once it has been read
}

// pending is the answer to a subscribe that asked for the roster.
type pending struct {
	subscribed wire.Frame
	first      bool // the subscription began with it
}

// rosterTime is time for a reading that is under way, and the next one.
const rosterTime = 2*callTime + time.Second

// show asks for the roster of a channel that is subscribed to. One that is being
// sent makes room for it, and one that is being read comes first.
func (s *socket) show(x *showing) {
	f, topic := s.channels[x.channel], ring.Channel(x.channel)
	if old := f.showing; old != nil {
		if old.walk == nil {
			old.later = append(old.later, x.answers...)
			return
		}
		s.stop(old)
		x.held, x.reset, x.must = old.held, old.reset, x.must || old.must
	} else {
		if x.reset == nil {
			x.held = s.reader.Complete(topic)
		}
		s.reader.Hold(topic, x.held)
		s.holds++
	}
	f.showing = x
	s.channels[x.channel] = f
	ctx, cancel := context.WithTimeout(s.ctx, rosterTime)
	x.cancel = cancel
	s.group.Go(func() error {
		defer cancel()
		r, err := s.rt.presence.roster(ctx, x.channel)
		s.do(func() {
			if s.channels[x.channel].showing == x {
				s.begin(x, r, err)
			}
		})
		return nil
	})
}

// begin takes the roster that was asked for, or the error in its place. One that is
// small goes into the message that its answer is in.
func (s *socket) begin(x *showing, r *reading, err error) {
	if err != nil {
		s.cannotShow(x, s.failed("members", err))
		return
	}
	f := s.channels[x.channel]
	f.presence, f.known = true, r.at
	s.channels[x.channel] = f
	later := x.later
	x.later = nil
	s.answerAll(x)
	if x.walk = walkRoster(r, &s.view); len(r.parts) < 2 {
		s.lastPart(x, x.walk.take())
	} else {
		s.parts = append(s.parts, x)
	}
	if len(later) > 0 {
		s.show(&showing{channel: x.channel, answers: later})
	}
}

// cannotShow deals with a roster that cannot be read.
func (s *socket) cannotShow(x *showing, why *wire.Error) {
	if x.must { // the client would keep a roster that is wrong
		s.conn.cancel(&ending{reason: why.Code, retry: retryAfter(), code: 4503})
		return
	}
	first := x.begins()
	for _, a := range slices.Concat(x.answers, x.later) {
		s.append(wire.ErrorFrame(a.subscribed.Ref, why))
	}
	if x.answers, x.later = nil, nil; first {
		s.drop(x.channel)
	} else {
		s.proceed(x.channel)
	}
}

// begins reports whether the subscription begins with an answer that waits.
func (x *showing) begins() bool {
	return slices.ContainsFunc(x.answers, func(a pending) bool { return a.first })
}

// answerAll gives the answers that wait for a roster.
func (s *socket) answerAll(x *showing) {
	for _, a := range slices.Concat(x.answers, x.later) {
		s.append(a.subscribed)
	}
	x.answers, x.later = nil, nil
}

// stop gives up a roster that is on its way.
func (s *socket) stop(x *showing) {
	x.cancel()
	s.parts = slices.DeleteFunc(s.parts, func(y *showing) bool { return x == y })
}

// proceed goes on with the events of a channel without its roster on the way, if
// there is one.
func (s *socket) proceed(channel string) {
	f := s.channels[channel]
	x := f.showing
	if x == nil {
		return
	}
	s.stop(x)
	s.answerAll(x)
	f.showing = nil
	s.channels[channel] = f
	s.holds--
	s.reader.Release(ring.Channel(channel))
	if x.held.Compare(s.pos) < 0 {
		s.pos = x.held // what is between has to be read for this channel
	}
}

// drop ends the subscription to a channel.
func (s *socket) drop(channel string) {
	if f, ok := s.channels[channel]; ok {
		if f.showing != nil {
			f.showing.reset = nil
			s.proceed(channel)
		}
		delete(s.channels, channel)
		s.reader.Unsubscribe(ring.Channel(channel))
	}
}

// abandon gives up the rosters on their way, since the connection ends: what has
// happened in their channels can still be told. A reset cannot, without its
// roster: its channel waits, and the client comes back with the cursor it has.
func (s *socket) abandon() {
	for channel, f := range s.channels {
		x := f.showing
		switch {
		case x == nil, x.reset != nil:
		case x.begins():
			x.answers, x.later = nil, nil // the end is the answer
			s.drop(channel)
		default:
			s.proceed(channel)
		}
	}
}

// sendPart writes one part of a roster, if one is on its way: each gets its turn.
func (s *socket) sendPart() (sent bool, err error) {
	if len(s.parts) == 0 {
		return false, nil
	}
	x := s.parts[0]
	p := x.walk.take()
	if !p.more {
		s.lastPart(x, p)
		return true, s.flush()
	}
	s.parts = append(s.parts[1:], x)
	if p.shared != nil { // of any number of connections, so it is not copied
		return true, s.ws.Write(p.shared) // ends by WriteTimeout or Drop
	}
	s.appendPart(x, p, "")
	return true, s.flush()
}

func (s *socket) appendPart(x *showing, p nextPart, cursor string) {
	frame := wire.RosterPart{Channel: x.channel, Part: p.number, Members: p.members, More: p.more, Cursor: cursor}
	s.separate()
	s.out = frame.Append(s.out)
}

// lastPart appends the last part of a roster. The channel goes on after it.
func (s *socket) lastPart(x *showing, p nextPart) {
	cursor := ""
	if x.held != (backend.Position{}) {
		cursor = wire.Cursor(x.held)
	}
	if x.reset != nil {
		s.append(*x.reset)
		x.reset = nil
	}
	s.appendPart(x, p, cursor)
	s.proceed(x.channel)
}
