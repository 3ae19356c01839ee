package session

import (
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// showing is a roster on its way to a client. Rosters may be large, and reading
// one may take long: so the host reads it, and it is sent part by part, between the
// events of other channels. What happens in its own channel waits until it has been
// sent. So all of that comes in log order, and no cursor that a client has leaves
// anything out.
type showing struct {
	of   *channel
	held backend.Position // the events of the channel go on after it
	stop func()           // ends the reading

	answers []answer    // to be given before the first part
	later   []answer    // to those who asked while it was read: with the next one
	reset   *wire.Frame // to be told with the last part: see Channels.reset
	must    bool        // the connection ends where the roster cannot be read

	walk *walk // nil until the roster has been read
}

// answer is that to a subscribe which asked for the roster.
type answer struct {
	frame wire.Frame
	first bool   // the subscription began with it
	back  Rewind // what of the past comes with it
	turn  uint64 // of the question by which that was allowed
}

// withhold leaves the past out of answers that wait, which were allowed at a turn or
// before.
func (x *showing) withhold(turn uint64) {
	for _, list := range [][]answer{x.answers, x.later} {
		for i := range list {
			if a := &list[i]; a.back.Messages > 0 && a.turn <= turn {
				a.back, a.frame.Past = Rewind{}, &wire.Past{End: string(ring.Gone)}
			}
		}
	}
}

// show asks for the roster of a channel that is followed. One that is being sent
// makes room for it, and one that is being read comes first.
func (c *Channels) show(x *showing) {
	f, topic := x.of, ring.Channel(x.of.name)
	if old := f.showing; old != nil {
		if old.walk == nil {
			old.later = append(old.later, x.answers...)
			old.must = old.must || x.must && f.presence // who has no roster keeps none that is wrong
			return
		}
		c.stop(old)
		// The client waits for the one that makes room, and has none without the other.
		x.held, x.reset, x.must = old.held, old.reset, true
	} else {
		if x.reset == nil {
			x.held = c.reader.Complete(topic)
		}
		c.reader.Hold(topic, x.held)
		c.held++
	}
	f.showing = x
	x.stop = c.host.Roster(f.name, func(r *Roster, why *wire.Error) {
		c.Do(func() {
			if f.showing == x {
				c.begin(x, r, why)
			}
		})
	})
}

// begin takes the roster that was asked for, or the error in its place. One that is
// small goes into the message that its answer is in.
func (c *Channels) begin(x *showing, r *Roster, why *wire.Error) {
	if why != nil {
		c.cannotShow(x, why)
		return
	}
	later := x.later
	x.later = nil
	c.answerAll(x)
	if x.walk = r.walk(c.view); len(r.parts) < 2 {
		c.lastPart(x, x.walk.take())
	} else {
		c.parts = append(c.parts, x)
	}
	if len(later) > 0 {
		c.show(&showing{of: x.of, answers: later})
	}
}

// cannotShow deals with a roster that cannot be read.
func (c *Channels) cannotShow(x *showing, why *wire.Error) {
	if x.must { // the client would keep a roster that is wrong
		c.host.Unreadable(why)
		return
	}
	first := x.begins()
	for _, a := range slices.Concat(x.answers, x.later) {
		c.refuse(a.frame.Ref, why)
	}
	if x.answers, x.later = nil, nil; first {
		c.drop(x.of)
	} else {
		c.proceed(x.of)
	}
}

// begins reports whether the subscription begins with an answer that waits.
func (x *showing) begins() bool {
	return slices.ContainsFunc(x.answers, func(a answer) bool { return a.first })
}

// answerAll gives the answers that wait for a roster.
func (c *Channels) answerAll(x *showing) {
	for _, a := range slices.Concat(x.answers, x.later) {
		c.subscribed(a)
	}
	x.answers, x.later = nil, nil
}

// stop gives up a roster that is on its way.
func (c *Channels) stop(x *showing) {
	x.stop()
	c.parts = slices.DeleteFunc(c.parts, func(y *showing) bool { return x == y })
}

// proceed goes on with the events of a channel without its roster on the way, if
// there is one.
func (c *Channels) proceed(f *channel) {
	x := f.showing
	if x == nil {
		return
	}
	c.stop(x)
	c.answerAll(x)
	f.showing = nil
	c.held--
	c.reader.Release(ring.Channel(f.name))
	if x.held.Compare(c.pos) < 0 {
		c.pos = x.held // what is between has to be read for this channel
	}
}

// abandon gives up the rosters on their way, since the connection ends: what has
// happened in their channels can still be told. A reset cannot, without its
// roster: its channel waits, and the client comes back with the cursor it has.
func (c *Channels) abandon() {
	for _, name := range c.Names() {
		f := c.followed.find(name)
		switch x := f.showing; {
		case x == nil, x.reset != nil:
		case x.begins():
			x.answers, x.later = nil, nil // the end is the answer
			c.drop(f)
		default:
			c.proceed(f)
		}
	}
}

// part takes one part of a roster, if one is on its way: each gets its turn.
func (c *Channels) part() (shared []byte, more bool) {
	if len(c.parts) == 0 {
		return nil, false
	}
	x := c.parts[0]
	p := x.walk.take()
	switch {
	case !p.more:
		c.lastPart(x, p)
		return nil, true // the events that were held follow
	case p.shared == nil:
		c.appendPart(x, p, "")
	}
	c.parts = append(c.parts[1:], x)
	return p.shared, true
}

func (c *Channels) appendPart(x *showing, p nextPart, cursor string) {
	frame := wire.RosterPart{Channel: x.of.name, Part: p.number, Members: p.members, More: p.more, Cursor: cursor}
	c.separate()
	c.buf.out = frame.Append(c.buf.out)
}

// lastPart appends the last part of a roster. The channel goes on after it, without
// the presence events that the roster has: before this part the client has no roster,
// and needs them.
func (c *Channels) lastPart(x *showing, p nextPart) {
	cursor := ""
	if x.held != (backend.Position{}) {
		cursor = wire.Cursor(x.held)
	}
	if x.reset != nil {
		c.Answer(*x.reset)
	}
	c.appendPart(x, p, cursor)
	x.of.presence, x.of.known = true, x.walk.at
	c.proceed(x.of)
}
