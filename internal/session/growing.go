package session

import (
	"slices"
	"sync/atomic"

	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// reading is a growing message that the client follows. What is added to it is told
// whenever the driver asks: who reads slowly gets more at a time, and nothing waits for
// them.
type reading struct {
	*growing.Text
	at       int // the client has the content up to here
	follower *growing.Follower
	turn     uint64 // of the question by which it was last allowed
	due      atomic.Bool
}

// Grow answers a stream operation, which was allowed at a turn, with what the client
// lacks of a growing message, and follows it. Another one with the same id, which has
// ended, makes room for it.
func (c *Channels) Grow(op wire.Op, t *growing.Text, turn uint64) {
	beginning := t.Beginning()
	r := c.texts[t.Key]
	switch {
	case !c.view.Channel(&beginning):
		c.refuse(op.Ref, NoStream(op.ID))
		return
	case r != nil && r.Text == t:
		c.more(r) // those who share the connection go on from here
	case r == nil && len(c.texts) >= c.most:
		c.refuse(op.Ref, wire.Errorf("too_many", "more than %d growing messages are followed", c.most))
		return
	}
	v := t.From(op.Place(t.Run))
	if r != nil && r.Text != t {
		c.forget(r)
		r = nil
	}
	if unknown := v.End != nil && v.End.State == ""; unknown {
		c.refuse(op.Ref, lostStream())
		return
	}
	c.separate()
	frame := wire.StreamFrame{
		Ref: op.Ref, Channel: t.Channel, ID: t.ID, Run: t.Run, State: string(growing.Streaming), From: t.Source, UserID: t.User,
		TS: t.UnixMilli, Metadata: t.Metadata, Kind: v.Kind, Offset: v.From, Content: v.Content, Next: v.Next,
	}
	if v.End != nil {
		frame.State, frame.Error, frame.Partial = string(v.End.State), v.End.Error, v.End.Partial
		c.buf.out = frame.Append(c.buf.out)
		return
	}
	c.buf.out = frame.Append(c.buf.out)
	if r == nil {
		r = &reading{Text: t}
		r.follower = t.Follow(func() { c.grown(r) })
		if c.texts == nil {
			c.texts = make(map[growing.Key]*reading)
		}
		c.texts[t.Key] = r
	}
	r.at, r.turn = v.Next, max(r.turn, turn)
	c.grown(r) // what was added since it was read
}

// NoStream is the answer to who asks for a growing message that there is not, or that
// must not be seen.
func NoStream(id string) *wire.Error {
	return wire.Errorf("not_found", "there is no growing message %s, or it has ended long ago", wire.Quote(id))
}

// lostStream is told where nobody knows what has become of a growing message.
func lostStream() *wire.Error {
	e := wire.Errorf("unavailable", "the message cannot be followed now")
	e.Retry = true
	return e
}

// grown has what was added told in a Fill, once for any number of calls. Any goroutine
// may call it.
func (c *Channels) grown(r *reading) {
	if r.due.CompareAndSwap(false, true) {
		c.Do(func() {
			r.due.Store(false)
			if c.texts[r.Key] == r {
				c.more(r)
			}
		})
	}
}

// more tells what was added to a growing message, and its end.
func (c *Channels) more(r *reading) {
	frame, next, end := r.Frame(r.at)
	if frame != nil {
		c.separate()
		c.buf.out = append(c.buf.out, frame...)
		r.at = next
	}
	switch {
	case end == nil:
		return
	case end.State == "":
		c.takeText(r, lostStream())
		return
	}
	c.forget(r)
	c.separate()
	f := wire.StreamEnd{Channel: r.Channel, ID: r.ID, State: string(end.State), TS: end.UnixMilli, Next: r.at, Error: end.Error}
	c.buf.out = f.Append(c.buf.out)
}

// Unstream ends the following of a growing message, if it is followed, and answers.
func (c *Channels) Unstream(op wire.Op) {
	if r := c.texts[growing.Key{Channel: op.Channel, ID: op.ID}]; r != nil {
		c.forget(r)
	}
	c.Answer(wire.Frame{Event: "ok", Ref: op.Ref})
}

// forget ends the following of a growing message.
func (c *Channels) forget(r *reading) {
	r.follower.Close()
	delete(c.texts, r.Key)
}

// takeText tells the client that it does not follow a growing message any longer.
func (c *Channels) takeText(r *reading, why *wire.Error) {
	c.forget(r)
	frame := wire.TakenFrame("unstreamed", r.Channel, "", why)
	frame.ID = r.ID
	c.Answer(frame)
}

// restrictTexts is Restrict for the growing messages of a channel.
func (c *Channels) restrictTexts(turn uint64, name string, why *wire.Error) {
	for key, r := range c.texts {
		switch {
		case key.Channel != name || r.turn > turn:
		case why == nil:
			r.turn = turn
		default:
			c.takeText(r, why)
		}
	}
}

// hideTexts ends the following of growing messages that the client must not see now.
func (c *Channels) hideTexts() {
	for _, r := range c.texts {
		if beginning := r.Beginning(); !c.view.Channel(&beginning) {
			c.takeText(r, wire.Errorf("forbidden", "not allowed to see %s", wire.Quote(r.ID)))
		}
	}
}

// Asked lists, in order, the channels that the policy has allowed: those that are
// subscribed to, and those of growing messages.
func (c *Channels) Asked() []string {
	names := c.Names()
	for key := range c.texts {
		names = append(names, key.Channel)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Close lets go of the history and of growing messages. Fill must not be called after
// it.
func (c *Channels) Close() {
	for _, r := range c.texts {
		r.follower.Close()
	}
	c.Session.Close()
}
