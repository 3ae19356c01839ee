package realtime

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/grant"
)

// policyCall is a running call of the policy. The policy gets it in its context. If the
// policy calls Revoke or Recheck, as for "one session per user" in Authenticate, these
// find the call there, and do not wait for the connection that waits for them.
type policyCall struct {
	outer *policyCall // within which, by way of Recheck, this one is made

	handshake *conns.Handshake // that is being authenticated
	conn      *conns.Conn      // that the call is about
	holds     bool             // and whose deciding is held
	fragment  bool             // and which waits for a FragmentFunc, not for the policy
	round     *round           // of the Recheck that asks, which the call is then part of

	spared atomic.Bool // a Revoke has left the decision about conn to Authenticate
	over   atomic.Bool
}

type policyCallKey struct{}

// begin returns a context for a call. end ends the call: a goroutine that keeps the
// context for longer is no longer within the call.
func (p *policyCall) begin(ctx context.Context) (_ context.Context, end func()) {
	p.outer = policyCallOf(ctx)
	return context.WithValue(ctx, policyCallKey{}, p), func() { p.over.Store(true) }
}

// policyCallOf returns the innermost call that ctx is within, or nil.
func policyCallOf(ctx context.Context) *policyCall {
	p, _ := ctx.Value(policyCallKey{}).(*policyCall)
	return p.find(func(*policyCall) bool { return true })
}

// find returns the innermost call, p or around it, that matches, or nil.
func (p *policyCall) find(match func(*policyCall) bool) *policyCall {
	for ; p != nil; p = p.outer {
		if !p.over.Load() && match(p) {
			return p
		}
	}
	return nil
}

// authenticates reports whether the call is part of the handshake of a client.
func (p *policyCall) authenticates(h *conns.Handshake) bool {
	return p.find(func(p *policyCall) bool { return p.handshake == h }) != nil
}

// about reports whether the policy is being asked about a connection.
func (p *policyCall) about(c *conns.Conn) bool {
	return p.find(func(p *policyCall) bool { return p.conn == c }) != nil
}

// renders reports whether the call is within a FragmentFunc for a connection.
func (p *policyCall) renders(c *conns.Conn) bool {
	return p.find(func(p *policyCall) bool { return p.conn == c && p.fragment }) != nil
}

// spare reports whether Authenticate is deciding about a connection. A Revoke must then
// not end it.
func (p *policyCall) spare(c *conns.Conn) bool {
	call := p.find(func(p *policyCall) bool { return p.conn == c && p.handshake != nil })
	if call != nil {
		call.spared.Store(true)
	}
	return call != nil
}

// holding reports whether the call holds the connection's lock of decisions.
func (p *policyCall) holding(c *conns.Conn) bool {
	return p.find(func(p *policyCall) bool { return p.conn == c && p.holds }) != nil
}

// rechecks returns the round that the call is part of, or nil.
func (p *policyCall) rechecks() *round {
	if call := p.find(func(p *policyCall) bool { return p.round != nil }); call != nil {
		return call.round
	}
	return nil
}

// byPolicy reports whether the policy makes the Recheck that the call is part of.
func (p *policyCall) byPolicy() bool {
	call := p.find(func(p *policyCall) bool { return p.round != nil })
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

// authenticate asks the policy who sends a request, for a new connection.
func (rt *Realtime) authenticate(h *conns.Handshake, r *http.Request) (Identity, *refusal) {
	call := &policyCall{handshake: h}
	ctx, end := call.begin(r.Context())
	defer end()
	id, f := rt.policy.authenticate(r.WithContext(ctx), rt.log)
	return id, f.from(r)
}

// grants asks the policy what the client of a new connection may see.
func (rt *Realtime) grantsOf(ctx context.Context, h *conns.Handshake, id Identity) ([]grant.Grant, *refusal) {
	call := &policyCall{handshake: h}
	ctx, end := call.begin(ctx)
	defer end()
	return rt.grants(ctx, id)
}

// refusalOf returns what a client is told that is not let in, nil where it is.
func (rt *Realtime) refusalOf(err error) *refusal {
	switch err {
	case nil:
		return nil
	case conns.ErrTooMany:
		return refuse(http.StatusTooManyRequests, "too_many", "more than %d connections of one user", rt.opts.Limits.Connections).retry()
	case conns.ErrClosing:
		return refuseClosing()
	default: // its rights have changed: it is authenticated again when it comes back
		return unavailable()
	}
}
