package realtime

import (
	"context"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/control"
	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/grant"
	"github.com/maravilla-realtime/realtime/internal/guard"
	"github.com/maravilla-realtime/realtime/internal/turns"
	"golang.org/x/sync/errgroup"
)

// Recheck asks the [Policy] again about everything that the connections of a user
// have: Grants for each REN stream, Allow for each channel that is subscribed to or
// joined. With an empty userID it does so for all anonymous clients. When it returns
// nil, nothing is delivered that is no longer allowed, on any node, and the user has
// left the channels where they must not be present. What is still allowed continues
// without a gap.
//
// If the policy does not answer within 5 s, the right is taken away until the client
// asks again. A client that cannot be told within half a second, since it reads too
// slowly, is disconnected, and checked when it reconnects.
//
// The [Identity] stays as Authenticate gave it, so the policy must look up rights that
// change. Recheck waits as long as [Realtime.Revoke]. An error means that ctx ended, or
// the Realtime was closed, before all connections were checked, or names the nodes that
// have not confirmed. If ctx ends, the check continues, and no right is lost by that.
//
// The policy may call Recheck, with the context that it was given, or that of the
// request. It then waits at most half a second for an operation of another connection,
// which may itself wait for this one: that connection is checked when its operation is
// done. A connection that is being checked is not asked about again.
func (rt *Realtime) Recheck(ctx context.Context, userID string) error {
	return rt.everywhere(ctx, control.Recheck, userID, rt.recheckUser)
}

// recheckUser is Recheck on this node.
func (rt *Realtime) recheckUser(ctx context.Context, userID string) error {
	if !rt.rechecks.Enter() {
		return ErrClosed
	}
	ctx, cancel := engine.Within(ctx, rightsTime)
	defer cancel()
	within := policyCallOf(ctx)
	theirs, done := rt.conns.Invalidate(userID, within.authenticates), make(chan struct{})
	if i := slices.IndexFunc(theirs, within.renders); i >= 0 {
		defer theirs[i].Cancel(conns.Rotated) // last, as ctx ends with it
		theirs = slices.Delete(theirs, i, i+1)
	}
	call := &policyCall{round: within.rechecks()}
	if call.round == nil {
		call.round = new(round)
	}
	go func() { // Close waits for it
		defer rt.rechecks.Leave()
		defer close(done)
		ctx, end := call.begin(context.WithoutCancel(ctx))
		defer end()
		rt.recheckAll(ctx, slices.DeleteFunc(theirs, func(c *conns.Conn) bool { return !call.round.take(c) }))
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recheckAtOnce bounds how many connections are asked about at the same time: a
// user may have hundreds of them, and anonymous clients any number.
const recheckAtOnce = 64

func (rt *Realtime) recheckAll(ctx context.Context, theirs []*conns.Conn) {
	var turns turns.Turns
	var asking errgroup.Group
	asking.SetLimit(recheckAtOnce)
	for _, c := range theirs {
		asking.Go(func() error {
			rt.recheck(ctx, c, &turns)
			return nil
		})
	}
	_ = asking.Wait() // nil
	for _, c := range theirs {
		if c.IsEnding() {
			<-c.Done()
		}
	}
}

// recheckOnly is Recheck for one connection alone, of whose user nothing else has
// changed.
func (rt *Realtime) recheckOnly(ctx context.Context, c *conns.Conn) {
	call := &policyCall{round: new(round)}
	call.round.take(c)
	ctx, end := call.begin(ctx)
	defer end()
	rt.recheck(ctx, c, new(turns.Turns))
}

// droppedByPanic is logged where the host's policy, or this library, has a fault.
const droppedByPanic = "realtime: panic; the connection is dropped"

// recheck is Recheck for one connection, which ends where it cannot be done.
func (rt *Realtime) recheck(ctx context.Context, c *conns.Conn, turns *turns.Turns) {
	err := guard.Log(rt.log, droppedByPanic, func() error { c.Recheck(ctx, turns); return nil })
	if err != nil {
		c.End(&conns.Ending{Reason: "internal", Retry: retryAfter(), Code: 1011})
	}
}

// recheck asks for the grants again and goes on with them where the stream is: it
// gets another hello.
func (s *stream) recheck(ctx context.Context, turns *turns.Turns) {
	turn := s.session.Turn()
	call := &policyCall{conn: &s.conn}
	ctx, end := call.begin(ctx)
	defer end()
	grants, f := s.regrants(ctx, turns)
	s.conn.RunOnWriter(s.session.Do, func() {
		switch {
		case !s.session.Newest(turn): // the policy has been asked again meanwhile, and has answered
		case f != nil:
			f.about.Address = s.about.address
			s.rt.refuse(f)
			end := &conns.Ending{Reason: f.Code}
			if f.Retry {
				end.Retry = retryAfter()
			}
			s.conn.End(end)
		default:
			s.session.Regrant(s.view(grants), grant.Topics(grants, s.ask.domains), s.hello(grants))
		}
	})
}

// regrants asks for the grants when its turn has come.
func (s *stream) regrants(ctx context.Context, turns *turns.Turns) ([]grant.Grant, *refusal) {
	turns.Take()
	defer turns.Give(time.Now())
	return s.rt.grants(ctx, s.id)
}
