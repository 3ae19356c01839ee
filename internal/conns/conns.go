// Package conns knows the open connections of a node: who has them, how many a user
// has, and how they end. It knows neither what they carry nor who may have what.
//
// A connection begins with a [Handshake], which lasts while its client is being let
// in, and is open from [Handshake.Add] to [Conns.Remove].
package conns

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"golang.org/x/time/rate"
)

// Errors of [Handshake.Identify] and [Handshake.Add].
var (
	// ErrClosing: no new connections are let in.
	ErrClosing = errors.New("closing")
	// ErrTooMany: the user has as many connections as Limits allow.
	ErrTooMany = errors.New("too many connections")
	// ErrInvalidated: the rights of the user have changed since the handshake began.
	ErrInvalidated = errors.New("rights have changed")
)

// Limits are what all connections of one user may have together. Anonymous clients
// are not one user.
type Limits struct {
	Connections int
	Pace        Rate // of operations
	Flood       Rate // of frames
}

// Rate is how often something may happen.
type Rate struct {
	PerSecond int
	Burst     int // at once
}

// Limiter returns a limiter of the rate.
func (r Rate) Limiter() *rate.Limiter { return rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst) }

// Conns are the connections of a node, so that they can be ended. Its methods may be
// called concurrently.
type Conns struct {
	limits Limits

	mu         sync.Mutex
	closing    bool
	open       table
	last       uint64 // the id of the newest one
	handshakes map[*Handshake]struct{}
	users      map[string]*user // who has connections
	all        sync.WaitGroup   // of open
}

// user is somebody who has connections.
type user struct {
	conns int
	pace  *rate.Limiter // of the operations of all of them
	flood *rate.Limiter // of their frames
}

// New returns a Conns without connections.
func New(limits Limits) *Conns {
	return &Conns{
		limits: limits, handshakes: make(map[*Handshake]struct{}), users: make(map[string]*user),
	}
}

// Limits returns the limits.
func (cs *Conns) Limits() Limits { return cs.limits }

// Handshake is a client that is being authenticated. It is not known yet which user
// that is, so the changes of everybody's rights are recorded until it is: the policy
// may have been asked before the change.
type Handshake struct {
	conns   *Conns
	changed []string
}

// Begin must be called before a client is authenticated, and End when it is let in or
// refused.
func (cs *Conns) Begin() *Handshake {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	h := &Handshake{conns: cs}
	cs.handshakes[h] = struct{}{}
	return h
}

// End ends the handshake. Ending it again does nothing.
func (h *Handshake) End() {
	h.conns.mu.Lock()
	defer h.conns.mu.Unlock()
	delete(h.conns.handshakes, h)
}

// Handshakes returns how many clients are being let in.
func (cs *Conns) Handshakes() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.handshakes)
}

// Identify says who a connection turned out to be. Errors: [ErrInvalidated],
// [ErrTooMany].
func (h *Handshake) Identify(c *Conn, user string) error {
	h.conns.mu.Lock()
	defer h.conns.mu.Unlock()
	if err := h.identify(c, user); err != nil {
		return err
	}
	c.Unknown = false
	return nil
}

func (h *Handshake) identify(c *Conn, user string) error {
	if slices.Contains(h.changed, user) {
		return ErrInvalidated
	}
	return h.conns.own(c, user)
}

// Add registers a connection of a user, who is "" if anonymous or not known yet. Its
// owner must call [Conns.Remove]. Errors: [ErrClosing] and those of Identify.
func (h *Handshake) Add(c *Conn, user string) error {
	cs := h.conns
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closing {
		return ErrClosing
	}
	if err := h.identify(c, user); err != nil {
		return err
	}
	cs.last++
	c.id, c.since = cs.last, time.Now()
	cs.open.add(c)
	cs.all.Add(1)
	return nil
}

// own makes c one of the connections of a user, and no longer of another.
func (cs *Conns) own(c *Conn, name string) error {
	if name == c.user {
		return nil
	}
	var u *user
	if name != "" {
		if u = cs.users[name]; u == nil {
			u = &user{pace: cs.limits.Pace.Limiter(), flood: cs.limits.Flood.Limiter()}
		}
		if u.conns >= cs.limits.Connections {
			return ErrTooMany
		}
	}
	cs.disown(c)
	if u != nil {
		u.conns++
		cs.users[name] = u
		c.user, c.pace, c.flood = name, u.pace, u.flood
	}
	return nil
}

func (cs *Conns) disown(c *Conn) {
	if u := cs.users[c.user]; u != nil {
		if u.conns--; u.conns == 0 {
			delete(cs.users, c.user)
		}
	}
	c.user, c.pace, c.flood = "", nil, nil
}

// Remove must be the last that happens to a connection: what [Conn.OnAbort] was given
// is not called after it.
func (cs *Conns) Remove(c *Conn) {
	c.forget()
	cs.mu.Lock()
	cs.open.remove(c)
	cs.disown(c)
	cs.mu.Unlock()
	c.remove()
	cs.all.Done()
}

// Users returns how many users have connections.
func (cs *Conns) Users() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.users)
}

// Invalidate is for a change of a user's rights. It returns the open connections of the
// user, and has the handshakes that may be theirs fail, except those that spare reports.
func (cs *Conns) Invalidate(user string, spare func(*Handshake) bool) []*Conn {
	cs.mu.Lock()
	for h := range cs.handshakes {
		if !spare(h) {
			h.changed = append(h.changed, user)
		}
	}
	cs.mu.Unlock()
	return cs.matching(func(c *Conn) bool { return c.user == user && !c.Unknown })
}

// matching returns the open connections that match.
func (cs *Conns) matching(match func(*Conn) bool) []*Conn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var found []*Conn
	for c := range cs.open.all {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// Close lets no new connections in. The open ones go on.
func (cs *Conns) Close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.closing = true
}

// IsClosed reports whether Close was called.
func (cs *Conns) IsClosed() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.closing
}

// Drain ends all connections as closing, before ctx ends, which must have a deadline. It
// delivers what the log has up to rest first. Clients are told to come back at random
// times within the rest of that time. Drain aborts connections that are still open when
// ctx ends, and returns its error. It gives up when late ends.
func (cs *Conns) Drain(ctx, late context.Context, rest backend.Position) error {
	deadline, _ := ctx.Deadline()
	spread := max(time.Until(deadline), time.Second)
	every := func(*Conn) bool { return true }
	for _, c := range cs.matching(every) {
		c.Cancel(Closing(rest, mathrand.N(spread)))
	}
	abort := context.AfterFunc(ctx, func() {
		for _, c := range cs.matching(every) {
			c.Abort()
		}
	})
	err := Await(late, &cs.all)
	if !abort() && err == nil {
		err = ctx.Err()
	}
	return err
}
