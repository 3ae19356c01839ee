package session

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// Channels is a connection that subscribes to channels. It has a cursor for each of
// them. What one Fill makes is one message, of objects separated by line breaks.
type Channels struct {
	Session
	host Host
	most int // channels
	view View

	following sync.Mutex // held while followed is changed, and read by another goroutine
	followed  followed
	ahead     backend.Position // some channels are complete up to here, while another is replayed
	held      int              // channels that wait for their roster
	parts     []*showing       // rosters that are being sent

	texts map[growing.Key]*reading // growing messages that are followed; nil: there was none
}

// followed are the channels of a connection, in the order of their names. Most
// connections have few, for which a map would take five times the memory.
type followed []*channel

func (l followed) place(name string) (i int, ok bool) {
	return slices.BinarySearchFunc(l, name, func(f *channel, name string) int { return strings.Compare(f.name, name) })
}

// find returns a channel, or nil if it is not followed.
func (l followed) find(name string) *channel {
	if i, ok := l.place(name); ok {
		return l[i]
	}
	return nil
}

// add adds a channel that is not followed.
func (l *followed) add(f *channel) {
	i, _ := l.place(f.name)
	*l = slices.Insert(*l, i, f)
}

// remove removes a channel, if it is followed.
func (l *followed) remove(name string) {
	if i, ok := l.place(name); ok {
		*l = slices.Delete(*l, i, i+1)
	}
}

// names lists the channels, in order.
func (l followed) names() []string {
	names := make([]string, 0, len(l)) // a list of all connections asks each for them
	for _, f := range l {
		names = append(names, f.name)
	}
	return names
}

// Host is the connection that a Channels belongs to. Fill calls its methods, which
// must not block.
type Host interface {
	// Roster has the members of a channel read elsewhere, as they are at some time
	// after the call, and then calls done from any goroutine, with one of the two.
	// After stop was called it need not.
	Roster(channel string, done func(*Roster, *wire.Error)) (stop func())
	// Unreadable says that a roster which the client must have cannot be read: the
	// connection must end.
	Unreadable(why *wire.Error)
}

// channel is one that is followed.
type channel struct {
	name     string
	presence bool             // with presence events,
	known    backend.Position // of which its last roster had those up to here
	showing  *showing         // the roster on its way: until it has come the channel is held
	turn     uint64           // of the question by which it was last allowed
}

// NewChannels returns a session without subscriptions, of which it will have at
// most so many. wake is called, from any goroutine, when Fill has something to tell
// after it had nothing. It must be fast and must not block.
func NewChannels(r *ring.Ring, wake func(), h Host, v View, most int) *Channels {
	c := &Channels{host: h, view: v, most: most}
	c.init(c, r, wake)
	return c
}

// SetView sets what the client sees from now on.
func (c *Channels) SetView(v View) { c.view = v }

// Answer appends an answer, or another frame that is no event.
func (c *Channels) Answer(f wire.Frame) {
	c.separate()
	c.buf.out = f.Append(c.buf.out)
}

// refuse answers with an error.
func (c *Channels) refuse(ref *int64, why *wire.Error) {
	c.buf.Told.Errors = append(c.buf.Told.Errors, why.Code)
	c.Answer(wire.ErrorFrame(ref, why))
}

// separate prepares for another object of the message.
func (c *Channels) separate() {
	if c.buf.Frame != nil {
		c.buf.out = append(c.buf.out, wsconn.Text(c.buf.Frame)...)
		c.buf.Frame = nil
	}
	if c.made() > 0 {
		c.buf.out = append(c.buf.out, '\n')
	}
}

// Names lists, in order, the channels that are subscribed to. Any goroutine may call it.
func (c *Channels) Names() []string {
	c.following.Lock()
	defer c.following.Unlock()
	return c.followed.names()
}

// Subscribe subscribes as op asks, which was allowed at a turn, and answers, with so
// much of the past. A channel that is followed goes on where it is.
func (c *Channels) Subscribe(op wire.Op, back Rewind, turn uint64) {
	frame := wire.Frame{Event: "subscribed", Ref: op.Ref, Channel: op.Channel, State: string(ring.Resumed)}
	f := c.followed.find(op.Channel)
	again := f != nil
	switch {
	case again: // without a cursor: a replay may be under way
	case len(c.followed) >= c.most:
		c.refuse(op.Ref, wire.Errorf("channel_limit", "more than %d channels", c.most))
		return
	default:
		f = &channel{name: op.Channel}
		c.following.Lock()
		c.followed.add(f)
		c.following.Unlock()
		start := c.follow(op.Channel, wire.Since(op.Since))
		frame.State, frame.Reason, frame.Cursor = string(start.State), string(start.Reason), wire.Cursor(start.Pos)
	}
	f.turn = max(f.turn, turn)
	a := answer{frame: frame, first: !again, back: back, turn: turn}
	if back.Messages > 0 && op.Presence && f.presence && f.showing == nil {
		c.subscribed(a) // only the past was asked for
		return
	}
	// Who was away while rights changed has a roster by the earlier ones.
	if op.Presence && (again || frame.State != string(ring.Resumed) || !c.view.Uniform()) {
		// The roster is read after the place where the events begin, so that no change
		// escapes both.
		c.show(&showing{of: f, answers: []answer{a}})
		return
	}
	if f.showing != nil && f.showing.reset != nil { // without presence it needs no roster
		c.Answer(*f.showing.reset)
	}
	c.proceed(f)
	f.presence = op.Presence
	c.subscribed(a)
}

// subscribed gives the answer to a subscribe. What it has of the past ends where the
// events of the channel go on.
func (c *Channels) subscribed(a answer) {
	if a.back.Messages > 0 {
		a.frame.Past = c.rewind(a.frame.Channel, a.back)
		for _, m := range a.frame.Past.Messages {
			c.buf.Told.Past += len(m)
		}
	}
	c.Answer(a.frame)
}

// follow begins a subscription.
func (c *Channels) follow(name string, since *backend.Position) ring.Start {
	start := c.subscribe(since, ring.Channel(name))
	c.ahead = c.ahead.Max(start.Pos)
	if start.Pos.Compare(c.pos) < 0 {
		c.ahead = c.ahead.Max(c.pos)
		c.pos = start.Pos // what is between has to be read again, for this channel
	}
	return start
}

// Unsubscribe ends the subscription that op names, if there is one, and answers.
func (c *Channels) Unsubscribe(op wire.Op) {
	if f := c.followed.find(op.Channel); f != nil {
		c.drop(f)
	}
	c.Answer(wire.Frame{Event: "ok", Ref: op.Ref})
}

// drop ends a subscription.
func (c *Channels) drop(f *channel) {
	c.proceed(f)
	c.following.Lock()
	c.followed.remove(f.name)
	c.following.Unlock()
	c.reader.Unsubscribe(ring.Channel(f.name))
}

// Restrict takes what the policy said of channels when it was asked at a turn: nil
// is yes. It ends the subscriptions that are not allowed, and says so, except those
// that were allowed at a later turn.
func (c *Channels) Restrict(turn uint64, verdict map[string]*wire.Error) {
	for _, name := range slices.Sorted(maps.Keys(verdict)) {
		f := c.followed.find(name)
		why := verdict[name]
		c.restrictTexts(turn, name, why)
		switch {
		case f == nil || f.turn > turn:
		case why == nil:
			f.turn = turn
		default:
			frame := wire.TakenFrame("unsubscribed", name, "", why)
			untold := f.showing != nil && f.showing.reset != nil // so it must come back from where it was before
			if f.showing != nil {
				f.showing.withhold(turn)
			}
			if c.drop(f); !untold {
				frame.Cursor = c.cursor()
			}
			c.Answer(frame)
		}
	}
}

// ShowAgain sends the rosters of all channels again, as the client may see other
// members now, and ends the following of growing messages that it must not see.
func (c *Channels) ShowAgain() {
	if c.view.Uniform() {
		return
	}
	c.hideTexts()
	for _, name := range c.Names() {
		// One that is being read is shown as the view is by then.
		if f := c.followed.find(name); f.presence || f.showing != nil {
			c.show(&showing{of: f, must: true})
		}
	}
}

// Ping says that the connection lives. now is in milliseconds since the Unix epoch.
func (c *Channels) Ping(now int64) { c.Answer(wire.Frame{Event: "ping", Cursor: c.cursor(), TS: now}) }

// cursor is what the client may hand back for every channel: "" while that would
// repeat events of some of them.
func (c *Channels) cursor() string {
	if c.held > 0 || c.pos.Compare(c.ahead) < 0 {
		return ""
	}
	return wire.Cursor(c.pos)
}

func (c *Channels) event(e *ring.Entry) {
	if c.held > 0 && c.followed.find(e.Event.Channel).showing != nil {
		return // a reset in this batch holds it: it is read again
	}
	if e.Event.IsPresence() {
		if f := c.followed.find(e.Event.Channel); !f.presence || e.Pos.Compare(f.known) <= 0 {
			return
		}
	}
	if !c.view.Channel(&e.Event) {
		return
	}
	if frame := frame(e); c.made() == 0 {
		c.buf.Frame = frame
	} else {
		c.separate()
		c.buf.out = append(c.buf.out, wsconn.Text(frame)...)
	}
	c.toldEvent(e)
}

// frame returns what all clients get of an event of a channel.
func frame(e *ring.Entry) []byte { return e.Encoded(ring.FormChannel, encodeFrame) }

// encodeFrame takes no more memory than the frame has, since the entry keeps it.
func encodeFrame(rec *backend.Logged) []byte {
	text := NewBuffer()
	defer text.Release()
	text.out = wire.AppendChannel(text.out[:0], rec)
	return wsconn.Frame(text.out)
}

// Text returns an event of a channel as clients get it.
func Text(e *ring.Entry) []byte { return wsconn.Text(frame(e)) }

// reset says that something of a channel was missed, and who is there now, both at
// once: a client that is told one alone would go on from there with the roster it
// had.
func (c *Channels) reset(it ring.Item) {
	f := c.followed.find(it.Topic.Name)
	c.toldReset(it.Reason)
	frame := wire.Frame{Event: "reset", Channel: f.name, Reason: string(it.Reason), Cursor: wire.Cursor(it.Pos)}
	if f.presence {
		c.show(&showing{of: f, held: it.Pos, reset: &frame, must: true})
	} else {
		c.Answer(frame)
	}
}

func (c *Channels) bye(how *Ending) {
	if how.Reason == "" {
		return
	}
	retry := how.Retry.Milliseconds()
	c.Answer(wire.Frame{Event: "bye", Reason: how.Reason, RetryMs: &retry, Cursor: c.cursor()})
}
