package client

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// room is the state of one channel in a client. The client's lock guards it.
//
// It holds separately what the program wants, and what the connection has been told. sync
// sends one operation of each kind at a time to make the two agree. So an operation on
// its way cannot be overtaken by a later wish, and a new connection, which has been told
// nothing, needs no special rules.
type room struct {
	name   string
	feeds  []*feed
	roster roster
	cursor string // everything up to here has been delivered

	// What this connection has been told.
	sub      subscription
	ask      *call // the subscribe or unsubscribe that has no answer yet
	stateDue bool  // a presence.state is on its way
	blind    bool  // the roster is too large to be read
	refused  bool  // to subscribe again would be refused as well
	told     intent
	telling  bool      // a join, update or leave has no answer yet,
	lapsed   bool      // and the server has ended the presence that it was about
	rest     time.Time // no operation is sent before: the server could not decide

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
	join     bool // of somebody who perhaps was not present before
	user     string
	metadata json.RawMessage
}

// concerns reports whether the intent is to be present as the user with an id that the
// server has sent. An intent without an id is for the client's own user.
func (w *intent) concerns(user string) bool {
	return w.present && (w.user == "" || w.user == user)
}

// waiter waits for the outcome of an intent, or of a later one.
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
	return m.want() == unsubscribed && m.sub == unsubscribed && m.ask == nil && !m.told.present && !m.telling && len(m.waiters) == 0
}

// cut forgets what the connection was told.
func (m *room) cut() {
	m.sub, m.ask, m.stateDue, m.blind, m.refused = unsubscribed, nil, false, false, false
	m.told, m.telling, m.lapsed, m.rest = intent{}, false, false, time.Time{}
	m.roster.abandon()
}

// reset says that something was missed.
func (m *room) reset(reason string) {
	for _, f := range m.feeds {
		f.push(item{reset: reason})
	}
}

// asked marks the loops for which a subscribe is being sent.
func (m *room) asked() {
	for _, f := range m.feeds {
		f.asked = true
	}
	for _, w := range m.roster.watchers {
		w.asked = true
	}
}

// end ends the loops over the channel: all, or those that were asked for.
func (m *room) end(err error, all bool) {
	m.feeds = slices.DeleteFunc(m.feeds, func(f *feed) bool {
		if all || f.asked {
			f.end(err)
		}
		return all || f.asked
	})
	m.roster.end(err, all)
}

// settle tells the waiters of intents up to a version.
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

// event handles an event of a channel.
func (r *Realtime) event(f frame) {
	m := r.rooms[f.Channel]
	switch {
	case m == nil:
		return
	case f.Event == "left":
		r.left(m, f)
		return
	case m.sub == unsubscribed:
		return // of a subscription that is over
	case f.Event == "unsubscribed":
		r.taken(m, f)
		return
	}
	if f.ID != "" {
		m.cursor = f.ID
	}
	switch f.Event {
	case "message":
		for _, feed := range m.feeds {
			feed.push(item{msg: f.message()})
		}
	case "reset":
		if f.Cursor != "" {
			m.cursor = f.Cursor
		}
		m.reset(f.Reason)
	case "presence.state":
		if m.sub == withPresence {
			whole := m.roster.collect(f)
			m.stateDue = !whole && (m.stateDue || m.roster.next > 0)
		}
	case "presence.join", "presence.update", "presence.leave":
		if m.roster.known {
			typ := f.Event[len("presence."):]
			m.roster.apply(typ, realtime.Member{UserID: f.UserID, Metadata: f.Metadata, LastSeen: time.UnixMilli(f.TS)}, f.Reason)
		}
	}
}

// taken handles the end of a subscription by the server. With retry, the client
// subscribes again by itself, from the cursor. Otherwise the loops end; a later loop
// may subscribe again.
func (r *Realtime) taken(m *room, f frame) {
	if f.Cursor != "" {
		m.cursor = f.Cursor
	}
	m.sub, m.stateDue = unsubscribed, false
	m.roster.abandon()
	r.set.log.Debug("client: subscription taken away", "channel", m.name, "error", f.refusal())
	if f.Retry {
		m.rest = time.Now().Add(pause())
	} else {
		m.refused, m.cursor = true, ""
		m.roster.forget()
		m.end(f.refusal(), true)
	}
	r.sync(m)
}

// left handles the end of a presence by the server. With retry, the client joins again by
// itself. Otherwise the intent ends, unless the program has called Join since the server
// agreed last: the server must answer that call.
func (r *Realtime) left(m *room, f frame) {
	had := m.told
	if !had.concerns(f.UserID) {
		return // of somebody who is not present over this connection
	}
	m.told, m.lapsed = intent{}, m.telling
	if m.good.concerns(f.UserID) {
		m.good = intent{}
	}
	switch {
	case !m.wish.concerns(f.UserID):
	case f.Retry:
		m.rest = time.Now().Add(pause())
	case m.wish.join && m.wish.version != had.version:
	default:
		r.disagree(m, m.wish, f.refusal())
	}
	r.sync(m)
}
