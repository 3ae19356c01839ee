package client

import "slices"

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
	if want == unsubscribed && m.sub == unsubscribed && m.ask != nil && m.ask.op.Ref == 0 && m.ask.op.Op == "subscribe" {
		r.out.remove(m.ask) // nobody wants it now
		m.ask = nil
	}
	switch {
	case !r.out.open, m.ask != nil:
	case want == unsubscribed && m.sub != unsubscribed:
		r.unsubscribe(m)
	case want == unsubscribed, m.refused:
	case want != m.sub, want == withPresence && !m.roster.known && !m.stateDue && !m.blind:
		r.subscribe(m, want)
	default:
		r.rewind(m)
	}
}

// rewind asks for what the next loop begins with that begins with the last messages: for
// the answer to the subscription once more, with them.
func (r *Realtime) rewind(m *room) {
	i := slices.IndexFunc(m.feeds, func(f *feed) bool { return !f.begun })
	if i < 0 || m.sub == unsubscribed {
		return
	}
	next := m.feeds[i]
	o := op{Op: "subscribe", Channel: m.name, Presence: m.sub == withPresence, rewind: next.back}
	m.ask = &call{op: o, due: m.rest, done: func(f frame, err error) {
		m.ask = nil
		if err == nil && m.sub == unsubscribed {
			// The subscription was taken away, and this has begun another one, without
			// the cursor.
			cursor := m.cursor
			r.unsubscribe(m)
			m.cursor = cursor
			return
		}
		next.begun = true
		if err != nil {
			m.feeds = slices.DeleteFunc(m.feeds, func(f *feed) bool { return f == next })
			next.end(err)
		}
		for i := range f.Messages {
			next.push(item{msg: f.Messages[i].message()})
		}
		r.sync(m)
	}}
	r.out.add(m.ask)
}

func (r *Realtime) unsubscribe(m *room) {
	// What still comes is not for those who subscribe from now on.
	m.sub, m.cursor, m.stateDue = unsubscribed, "", false
	m.roster.forget()
	m.ask = &call{op: op{Op: "unsubscribe", Channel: m.name}, done: func(frame, error) {
		m.ask = nil
		r.sync(m)
	}}
	r.out.add(m.ask)
}

func (r *Realtime) subscribe(m *room, want subscription) {
	o := op{Op: "subscribe", Channel: m.name, Presence: want == withPresence}
	if m.sub == unsubscribed {
		o.Since = m.cursor
	}
	if !o.Presence {
		m.roster.forget()
	}
	m.asked()
	m.ask = &call{op: o, due: m.rest, done: func(f frame, err error) {
		m.ask = nil
		kick(r.out.wake) // what is held goes on
		if err != nil {
			r.set.log.Debug("client: subscription refused", "channel", m.name, "error", err)
			m.end(err, false)
			// Who began to listen since then has not been refused.
			m.refused = len(m.feeds)+len(m.roster.watchers) == 0
			r.sync(m)
			return
		}
		first := m.sub == unsubscribed // perhaps it was taken away meanwhile
		m.sub, m.refused = want, false
		if first {
			m.begin(f)
		}
		// One that goes on where another ended is not told who is there. If that is
		// not known from before, it is asked for once more.
		m.stateDue = o.Presence && (!first || f.State != "resumed")
		r.sync(m)
	}}
	r.out.add(m.ask)
}

// begin takes the answer to a subscribe of a connection that was not subscribed.
func (m *room) begin(f frame) {
	if f.State != "resumed" {
		m.roster.known = false // another one follows
	}
	switch {
	case f.State == "reset":
		m.reset(f.Reason)
	case f.State == "fresh" && m.cursor != "":
		// It was asked for while there was a subscription, which the server took away
		// before it read that.
		m.reset("unknown")
	}
	if f.Cursor != "" {
		m.cursor = f.Cursor
	}
}

// held reports whether a message has to wait until the subscription to its
// channel has begun: a server does not begin it before it does what came after.
// One that goes on from a cursor brings the message in any case.
func (r *Realtime) held(c *call) bool {
	if c.op.Op != "publish" {
		return false
	}
	m := r.rooms[c.op.Channel]
	if m == nil || m.want() == unsubscribed || m.sub != unsubscribed || m.refused {
		return false
	}
	return m.ask == nil || m.ask.due.IsZero() || m.ask.op.Since == ""
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
	m.telling, m.lapsed = true, false
	c := &call{op: o, done: func(_ frame, err error) { r.told(m, o.Op, next, err) }}
	if o.Op == "join" {
		c.due = m.rest
	}
	r.out.add(c)
}

// told takes the answer to a join, update or leave, which stood for an intent.
func (r *Realtime) told(m *room, op string, next intent, err error) {
	m.telling = false
	switch {
	case err == nil, op == "leave":
		m.told, m.good = next, next
		m.settle(next.version, err)
	case op == "update" && m.lapsed:
		// There is nothing left to update. What is left of the wish is to join.
	default:
		r.disagree(m, next, err)
	}
	r.sync(m)
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
