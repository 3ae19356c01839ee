package client

import (
	"context"
	"encoding/json"
	"iter"
	"slices"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
)

// Presence gives the members of one channel, and makes this client one of them. It costs
// nothing until it is used. All values for the same channel of a client share their
// state. Its methods may be called concurrently.
type Presence struct {
	client  *Realtime
	channel string
}

// Presence returns the presence of a channel.
func (r *Realtime) Presence(channel string) *Presence { return &Presence{r, channel} }

// Join makes a user present, on this connection and later ones, until
// [Presence.Leave] or [Realtime.Close]. The user id may be "" if the server knows the
// client's user. Other clients see the metadata, by default at most 1 KiB of JSON; nil
// is none. A client is present in a channel as one user: to join as another user ends
// the presence of the first.
//
// It blocks until the server has agreed, a later call has replaced this one (both
// return nil), or ctx ends. After an error, including that of ctx, the presence is as
// before the call. Errors: [*Error], [realtime.ErrClosed], and those of ctx and of
// [json.Marshal].
func (p *Presence) Join(ctx context.Context, userID string, metadata any) error {
	raw, err := encode(metadata)
	if err != nil {
		return fault.Errorf("client: join: %w", err)
	}
	return p.intend(ctx, func(intent) (intent, error) {
		return intent{present: true, join: true, user: userID, metadata: raw}, nil
	})
}

// Update changes the metadata. It blocks and returns like [Presence.Join]; the error
// is an [*Error] with the code "not_joined" if the client is not present.
func (p *Presence) Update(ctx context.Context, metadata any) error {
	raw, err := encode(metadata)
	if err != nil {
		return fault.Errorf("client: update: %w", err)
	}
	return p.intend(ctx, func(now intent) (intent, error) {
		if !now.present {
			return now, &Error{Code: "not_joined", Message: "join comes before update"}
		}
		now.join, now.metadata = false, raw
		return now, nil
	})
}

// Leave ends the presence, even if ctx ends before the server has answered. It blocks
// until the server has answered or ctx ends, and does nothing if the client is not
// present or not connected. Errors: [*Error], [realtime.ErrClosed] and those of ctx.
func (p *Presence) Leave(ctx context.Context) error {
	err := p.intend(ctx, func(intent) (intent, error) { return intent{}, nil })
	if err == realtime.ErrClosed {
		return nil
	}
	return err
}

func encode(metadata any) (json.RawMessage, error) {
	if metadata == nil {
		return nil, nil
	}
	return json.Marshal(metadata)
}

// intend replaces the intent of the channel, and waits until the server has
// agreed.
func (p *Presence) intend(ctx context.Context, replace func(intent) (intent, error)) error {
	r := p.client
	m, wait, err := r.replaceIntent(p.channel, replace)
	if err != nil {
		return err
	}
	select {
	case err := <-wait.done:
		return err
	case <-ctx.Done():
		return r.withdraw(m, wait, ctx.Err())
	}
}

func (r *Realtime) replaceIntent(channel string, replace func(intent) (intent, error)) (*room, waiter, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return nil, waiter{}, r.ended
	}
	m := r.room(channel)
	w, err := replace(m.wish)
	if err != nil {
		r.sync(m) // perhaps nobody needs it
		return nil, waiter{}, err
	}
	return m, r.propose(m, w), nil
}

// withdraw goes back to what was agreed before, and returns err, unless the
// answer has come.
func (r *Realtime) withdraw(m *room, wait waiter, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case err := <-wait.done:
		return err
	default:
	}
	m.waiters = slices.DeleteFunc(m.waiters, func(w waiter) bool { return w.done == wait.done })
	err = r.waited(err)
	if wait.present && m.wish.version == wait.version {
		// Perhaps it is on its way, so going back is news to the server.
		m.version++
		m.wish = m.good
		m.wish.version, m.wish.join = m.version, false
	}
	r.sync(m)
	return err
}

// propose makes an intent the newest of its channel.
func (r *Realtime) propose(m *room, w intent) waiter {
	m.version++
	w.version = m.version
	m.wish = w
	wait := waiter{w, make(chan error, 1)}
	m.waiters = append(m.waiters, wait)
	r.sync(m)
	return wait
}

// Members returns the members, ordered by user id. They are known only while the client
// is present itself, or a loop follows [Presence.Events]. It does not block.
func (p *Presence) Members() []realtime.Member {
	r := p.client
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.rooms[p.channel]; m != nil {
		return m.roster.list()
	}
	return nil
}

// Events returns the joins, updates and leaves of members, for a loop that lasts until
// ctx ends; first the present members, as joins. It begins with the call, and ends with
// ctx or the loop, whichever is first. It can be ranged over once.
//
// If the loop is slow, or was without a connection for longer than the history, several
// changes of a member are merged into one, or none. Applied in order, the changes always
// give the present members. The last pair is like that of [Realtime.Subscribe].
func (p *Presence) Events(ctx context.Context) iter.Seq2[Change, error] {
	r := p.client
	var w *watcher
	var in *room
	r.change(p.channel, func(err error) { w = newWatcher(&roster{}); w.end(err) }, func(m *room) {
		w, in = newWatcher(&m.roster), m
		m.roster.watchers, m.refused = append(m.roster.watchers, w), false
		m.blind = false // it may be smaller now
	})
	leave := func() {
		r.change(p.channel, w.end, func(m *room) {
			m.roster.watchers = slices.DeleteFunc(m.roster.watchers, func(other *watcher) bool { return other == w })
		})
	}
	stop := context.AfterFunc(ctx, leave)
	return func(yield func(Change, error) bool) {
		defer leave()
		defer stop()
		if r.begin(&w.used) {
			yield(Change{}, errTwice)
			return
		}
		for {
			c, ok, err := r.nextChange(ctx, w, in)
			switch {
			case err != nil:
				yield(Change{}, err)
				return
			case !ok:
				await(ctx, w.wake)
			case !yield(c, nil):
				return
			}
		}
	}
}

func (r *Realtime) nextChange(ctx context.Context, w *watcher, m *room) (c Change, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return c, false, r.over(ctx)
	}
	if w.err != nil {
		return c, false, w.err
	}
	c, ok = w.next(&m.roster)
	return c, ok, nil
}
