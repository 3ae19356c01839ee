package client

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// room is what a client knows and wants of one channel. The client's lock guards
// it.
//
// What is wanted and what the connection has been told are kept apart, and
// brought together by one operation at a time of each kind: so nothing that is
// on its way can be overtaken by a change of mind, and a new connection, which
// has been told nothing, needs no rules of its own.
type room struct {
	name   string
	feeds  []*feed
	roster roster
	cursor string // everything up to here has been delivered

	// What this connection has been told.
	sub      subscription
	asking   bool // a subscribe or unsubscribe has no answer yet
	stateDue bool // a presence.state is on its way
	refused  bool // subscribing again is of no use
	told     intent
	telling  bool // a join, update or leave has no answer yet

	wish    intent
	good    intent // the last one the server agreed to, on any connection
	version int    // of the newest intent
	waiters []waiter
}

// subscription is how a channel is subscribed to.
type subscription int

const (
	unsubscribed subscription = iota
	withMessages
	withPresence
)

// intent is to be present, or not.
type intent struct {
	version  int
	present  bool
	user     string
	metadata json.RawMessage
}

// waiter wants to know how an intent, or one that came after it, ends.
type waiter struct {
	intent
	done chan error // holds one
}

func (m *room) want() subscription {
	switch {
	case m.wish.present, len(m.roster.watchers) > 0:
		return withPresence
	case len(m.feeds) > 0:
		return withMessages
	}
	return unsubscribed
}

func (m *room) idle() bool {
	return m.want() == unsubscribed && m.sub == unsubscribed && !m.asking && !m.told.present && !m.telling && len(m.waiters) == 0
}

// cut forgets what the connection was told.
func (m *room) cut() {
	m.sub, m.asking, m.stateDue, m.refused = unsubscribed, false, false, false
	m.told, m.telling = intent{}, false
}

// reset says that something was missed.
func (m *room) reset(reason string) {
	for _, f := range m.feeds {
		f.push(item{reset: reason})
	}
}

// end ends the loops over the channel.
func (m *room) end(err error) {
	for _, f := range m.feeds {
		f.end(err)
	}
	for _, w := range m.roster.watchers {
		w.end(err)
	}
	m.feeds, m.roster.watchers = nil, nil
}

// settle tells those who wait for the intent of a version, or one before it.
func (m *room) settle(version int, err error) (told int) {
	n := len(m.waiters)
	m.waiters = slices.DeleteFunc(m.waiters, func(w waiter) bool {
		if w.version > version {
			return false
		}
		w.done <- err
		return true
	})
	return n - len(m.waiters)
}

// room returns the channel of a name, made if need be.
func (r *Realtime) room(name string) *room {
	m := r.rooms[name]
	if m == nil {
		m = &room{name: name}
		r.rooms[name] = m
	}
	return m
}

// sync takes the next step, if there is one to take, from what the connection
// has been told to what is wanted.
func (r *Realtime) sync(m *room) {
	r.syncSubscription(m)
	r.syncPresence(m)
	if m.idle() {
		delete(r.rooms, m.name)
	}
}

func (r *Realtime) syncSubscription(m *room) {
	want := m.want()
	switch {
	case !r.out.open, m.asking:
	case want == unsubscribed && m.sub != unsubscribed:
		r.unsubscribe(m)
	case want == unsubscribed, m.refused:
	case want != m.sub, want == withPresence && !m.roster.known && !m.stateDue:
		r.subscribe(m, want)
	}
}

func (r *Realtime) unsubscribe(m *room) {
	// What still comes is not for those who subscribe from now on.
	m.sub, m.cursor, m.stateDue = unsubscribed, "", false
	m.roster.forget()
	m.asking = true
	r.out.add(&call{op: op{Op: "unsubscribe", Channel: m.name}, done: func(frame, error) {
		m.asking = false
		r.sync(m)
	}})
}

func (r *Realtime) subscribe(m *room, want subscription) {
	first := m.sub == unsubscribed
	o := op{Op: "subscribe", Channel: m.name, Presence: want == withPresence}
	if first {
		o.Since = m.cursor
	}
	if !o.Presence {
		m.roster.forget()
	}
	m.asking = true
	r.out.add(&call{op: o, done: func(f frame, err error) {
		m.asking = false
		kick(r.out.wake) // what is held goes on
		if err != nil {
			r.set.log.Debug("client: subscription refused", "channel", m.name, "error", err)
			m.refused = true
			m.end(err)
			r.sync(m)
			return
		}
		m.sub = want
		if first {
			m.begin(f)
		}
		// One that goes on where another ended is not told who is there. If that is
		// not known from before, it is asked for once more.
		m.stateDue = o.Presence && (!first || f.State != "resumed")
		r.sync(m)
	}})
}

// held reports whether a message has to wait until the subscription to its
// channel has begun: a server does not begin it before it does what came behind.
func (r *Realtime) held(c *call) bool {
	m := r.rooms[c.op.Channel]
	return c.op.Op == "publish" && m != nil && m.want() != unsubscribed && m.sub == unsubscribed && !m.refused
}

// begin takes the answer to the first subscribe of a connection.
func (m *room) begin(f frame) {
	if f.Cursor != "" {
		m.cursor = f.Cursor
	}
	if f.State == "reset" {
		m.reset(f.Reason)
	}
}

func (r *Realtime) syncPresence(m *room) {
	w := m.wish
	switch {
	case m.telling:
		return
	case w.version == m.told.version, !w.present && !m.told.present:
		m.told = w
		m.settle(w.version, nil)
		return
	case !r.out.open:
		return
	}
	next, o := w, op{Op: "join", Channel: m.name, UserID: w.user, Metadata: w.metadata}
	switch {
	case m.told.present && !w.present:
		o = op{Op: "leave", Channel: m.name, UserID: m.told.user}
	case m.told.present && w.user != m.told.user:
		next, o = intent{}, op{Op: "leave", Channel: m.name, UserID: m.told.user}
	case m.told.present:
		o.Op = "update"
	}
	m.telling = true
	r.out.add(&call{op: o, done: func(_ frame, err error) {
		m.telling = false
		if err != nil && o.Op != "leave" {
			r.disagree(m, next, err)
		} else {
			m.told, m.good = next, next
			m.settle(next.version, err)
		}
		r.sync(m)
	}})
}

// disagree goes back to the last intent that the server agreed to.
func (r *Realtime) disagree(m *room, w intent, err error) {
	if m.settle(w.version, err) == 0 {
		r.set.log.Warn("client: presence refused", "channel", m.name, "user", w.user, "error", err)
	}
	if m.good.version == w.version {
		m.good = intent{}
	}
	if m.wish.version == w.version {
		m.wish = m.good
	}
}

// event takes what happened in a channel.
func (r *Realtime) event(f frame) {
	m := r.rooms[f.Channel]
	if m == nil || m.sub == unsubscribed {
		return // of a subscription that is over
	}
	if f.ID != "" {
		m.cursor = f.ID
	}
	switch f.Event {
	case "message":
		msg := Message{f.Channel, f.Data, f.From, f.UserID, f.TS, realtime.Cursor(f.ID)}
		for _, feed := range m.feeds {
			feed.push(item{msg: msg})
		}
	case "reset":
		if f.Cursor != "" {
			m.cursor = f.Cursor
		}
		m.reset(f.Reason)
	case "presence.state":
		if m.stateDue = false; m.sub == withPresence {
			m.roster.replace(f.Members)
		}
	case "presence.join", "presence.update", "presence.leave":
		if m.roster.known {
			typ := f.Event[len("presence."):]
			m.roster.apply(typ, realtime.Member{UserID: f.UserID, Metadata: f.Metadata, LastSeen: time.UnixMilli(f.TS)}, f.Reason)
		}
	}
}
