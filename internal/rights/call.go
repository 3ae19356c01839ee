// Package rights ends rights of users on a node: it ends their connections, or has the policy
// asked again about what they have. It also knows which calls of the policy are under way, so
// that one that ends rights does not wait for itself.
package rights

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/control"
)

// Call is a running call of the policy. The policy gets it in its context. If the
// policy calls Revoke or Recheck, as for "one session per user" in Authenticate, these
// find the call there, and do not wait for the connection that waits for them.
type Call struct {
	Handshake *conns.Handshake // that is being authenticated
	Conn      *conns.Conn      // that the call is about
	Holds     bool             // and whose decisions wait for it
	Fragment  bool             // and which waits for a FragmentFunc, not for the policy

	outer  *Call       // within which, by way of Recheck, this one is made
	round  *round      // of the Recheck that asks, which the call is then part of
	spared atomic.Bool // a Revoke has left the decision about Conn to Authenticate
	ends   atomic.Bool // a Recheck within this FragmentFunc ends Conn
	over   atomic.Bool
}

type callKey struct{}

// Begin returns a context for a call. end ends the call: a goroutine that keeps the
// context for longer is no longer within the call.
func (p *Call) Begin(ctx context.Context) (_ context.Context, end func()) {
	p.outer = CallOf(ctx)
	return &callContext{ctx, p}, func() { p.over.Store(true) }
}

// What the nodes of a cluster tell each other of the call that makes a Recheck.
const (
	byPolicy   = "policy"
	byFragment = "fragment"
)

// tell returns a context for a request to all nodes within the call.
func (p *Call) tell(ctx context.Context) context.Context {
	switch {
	case p == nil:
		return ctx
	case p.ByFragment():
		return control.Within(ctx, byFragment)
	}
	return control.Within(ctx, byPolicy)
}

// elsewhere returns a context within the call of another node that makes the request of ctx,
// if there is one. So that two nodes, where calls make such requests at the same time, do
// not wait for each other.
func elsewhere(ctx context.Context) (_ context.Context, end func()) {
	from := control.From(ctx)
	if from == "" {
		return ctx, func() {}
	}
	call := &Call{Fragment: from == byFragment}
	return call.Begin(ctx)
}

// callContext is the context of a call. Unlike that of [context.WithValue] it passes
// AfterFunc on: package context follows the context of a connection by it alone. See
// [conns.Context.Parent].
type callContext struct {
	context.Context
	call *Call
}

func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c.call
	}
	return c.Context.Value(key)
}

// AfterFunc has f called when the context ends: see [context.AfterFunc].
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	if follows, ok := c.Context.(interface{ AfterFunc(func()) func() bool }); ok {
		return follows.AfterFunc(f)
	}
	return context.AfterFunc(c.Context, f)
}

// CallOf returns the innermost call that ctx is within, or nil. The methods of nil are those
// of no call.
func CallOf(ctx context.Context) *Call {
	p, _ := ctx.Value(callKey{}).(*Call)
	return p.find(func(*Call) bool { return true })
}

// find returns the innermost call, p or around it, that matches, or nil.
func (p *Call) find(match func(*Call) bool) *Call {
	for ; p != nil; p = p.outer {
		if !p.over.Load() && match(p) {
			return p
		}
	}
	return nil
}

// authenticates reports whether the call is part of the handshake of a client.
func (p *Call) authenticates(h *conns.Handshake) bool {
	return p.find(func(p *Call) bool { return p.Handshake == h }) != nil
}

// about reports whether the policy is being asked about a connection.
func (p *Call) about(c *conns.Conn) bool {
	return p.find(func(p *Call) bool { return p.Conn == c }) != nil
}

// renders reports whether the call is within a FragmentFunc for a connection, and notes that
// a Recheck of that ends it.
func (p *Call) renders(c *conns.Conn) bool {
	call := p.find(func(p *Call) bool { return p.Conn == c && p.Fragment })
	if call != nil {
		call.ends.Store(true)
	}
	return call != nil
}

// endRendered ends the connections whose FragmentFunc the call is within, if a Recheck was to
// check them.
func (p *Call) endRendered() {
	p.find(func(p *Call) bool {
		if p.ends.Load() {
			p.Conn.Cancel(conns.Rotated)
		}
		return false
	})
}

// spare reports whether Authenticate is deciding about a connection. A Revoke must then
// not end it.
func (p *Call) spare(c *conns.Conn) bool {
	call := p.find(func(p *Call) bool { return p.Conn == c && p.Handshake != nil })
	if call != nil {
		call.spared.Store(true)
	}
	return call != nil
}

// Spared reports whether a Revoke has left the decision about Conn to this call.
func (p *Call) Spared() bool { return p.spared.Load() }

// Holding reports whether the call holds the connection's lock of decisions.
func (p *Call) Holding(c *conns.Conn) bool {
	return p.find(func(p *Call) bool { return p.Conn == c && p.Holds }) != nil
}

// rechecks returns the round that the call is part of, or nil.
func (p *Call) rechecks() *round {
	if call := p.find(func(p *Call) bool { return p.round != nil }); call != nil {
		return call.round
	}
	return nil
}

// ByFragment reports whether a FragmentFunc makes the Recheck that the call is part of.
func (p *Call) ByFragment() bool {
	return p.find(func(p *Call) bool { return p.Fragment }) != nil
}

// ByPolicy reports whether the policy makes the Recheck that the call is part of.
func (p *Call) ByPolicy() bool {
	call := p.find(func(p *Call) bool { return p.round != nil })
	return call != nil && call.outer != nil
}

// round is one Recheck, together with those that the policy calls within it. It asks
// about each connection once, so that it ends.
type round struct {
	mu    sync.Mutex
	taken map[*conns.Conn]struct{}
}

// take reports whether a connection has not been taken before.
func (r *round) take(c *conns.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.taken[c]; taken {
		return false
	}
	if r.taken == nil {
		r.taken = make(map[*conns.Conn]struct{})
	}
	r.taken[c] = struct{}{}
	return true
}
