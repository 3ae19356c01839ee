package rights

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/host/turns"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/control"
	"golang.org/x/sync/errgroup"
)

// Node is what the rights of a node use.
type Node struct {
	Conns *conns.Conns
	Leave func(ctx context.Context, userID string) // has a user leave all channels, as far as this node keeps them there
	// Everywhere makes a request of package control to all nodes. Nil where there is only
	// this one.
	Everywhere func(ctx context.Context, what, userID string) error
	Logger     *slog.Logger
}

// Rights ends the rights of users. Its methods may be called concurrently.
type Rights struct {
	node     Node
	rechecks conns.Gate
}

// New returns the rights of a node.
func New(node Node) *Rights { return &Rights{node: node} }

// Close refuses further rechecks, and waits for those under way until ctx ends. It must be
// called once.
func (rs *Rights) Close(ctx context.Context) { rs.rechecks.Close(ctx) }

// Revoke is [Rights.RevokeHere] on all nodes.
func (rs *Rights) Revoke(ctx context.Context, userID string) error {
	if rs.node.Everywhere == nil {
		return rs.RevokeHere(ctx, userID)
	}
	return rs.node.Everywhere(ctx, control.Revoke, userID)
}

// Recheck is [Rights.RecheckHere] on all nodes. A Recheck within a Recheck stays on its
// node: see [control.Obliged].
func (rs *Rights) Recheck(ctx context.Context, userID string) error {
	defer CallOf(ctx).endRendered() // last, as ctx ends with it
	if rs.node.Everywhere == nil || control.Obliged(ctx) || CallOf(ctx).rechecks() != nil {
		return rs.RecheckHere(ctx, userID)
	}
	return rs.node.Everywhere(CallOf(ctx).tell(ctx), control.Recheck, userID)
}

// waitTime is the time to wait for the connections of a node if ctx has no deadline.
const waitTime = 30 * time.Second

// RevokeHere ends the connections of a user to this node, and waits for their end as long as
// ctx, or 30 s if ctx has no deadline.
func (rs *Rights) RevokeHere(ctx context.Context, userID string) error {
	ctx, cancel := bounded.Within(ctx, waitTime)
	defer cancel()
	within := CallOf(ctx)
	var theirs, asking []*conns.Conn
	for _, c := range rs.node.Conns.Invalidate(userID, within.authenticates) {
		switch {
		case within.spare(c):
		case within.about(c):
			asking = append(asking, c) // last, as ctx ends with it
		default:
			theirs = append(theirs, c)
		}
	}
	defer func() {
		for _, c := range asking {
			c.End(conns.Revoked)
		}
	}()
	for _, c := range theirs {
		c.End(conns.Revoked)
	}
	for _, c := range theirs {
		select {
		case <-c.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	rs.node.Leave(ctx, userID)
	return nil
}

// RecheckHere checks the connections of a user to this node, and waits for that as long as
// ctx, or 30 s if ctx has no deadline. If ctx ends first, it is still done.
func (rs *Rights) RecheckHere(ctx context.Context, userID string) error {
	if !rs.rechecks.Enter() {
		return bounded.ErrClosed
	}
	ctx, cancel := bounded.Within(ctx, waitTime)
	defer cancel()
	within := CallOf(ctx)
	theirs, done := rs.node.Conns.Invalidate(userID, within.authenticates), make(chan struct{})
	theirs = slices.DeleteFunc(theirs, within.renders)
	call := &Call{round: within.rechecks()}
	if call.round == nil {
		call.round = new(round)
	}
	go func() { // Close waits for it
		defer rs.rechecks.Leave()
		defer close(done)
		ctx, leave := elsewhere(context.WithoutCancel(ctx))
		defer leave()
		ctx, end := call.Begin(ctx)
		defer end()
		rs.recheckAll(ctx, slices.DeleteFunc(theirs, func(c *conns.Conn) bool { return !call.round.take(c) }))
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

func (rs *Rights) recheckAll(ctx context.Context, theirs []*conns.Conn) {
	var turns turns.Turns
	var asking errgroup.Group
	asking.SetLimit(recheckAtOnce)
	for _, c := range theirs {
		asking.Go(func() error {
			rs.recheck(ctx, c, &turns)
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

// RecheckOnly checks one connection alone, of whose user nothing else has changed.
func (rs *Rights) RecheckOnly(ctx context.Context, c *conns.Conn) {
	call := &Call{round: new(round)}
	call.round.take(c)
	ctx, end := call.Begin(ctx)
	defer end()
	rs.recheck(ctx, c, new(turns.Turns))
}

// RecheckSoon is [Rights.RecheckOnly] in a goroutine for which Close waits. After Close it
// does nothing.
func (rs *Rights) RecheckSoon(ctx context.Context, c *conns.Conn) {
	if !rs.rechecks.Enter() {
		return
	}
	go func() {
		defer rs.rechecks.Leave()
		rs.RecheckOnly(ctx, c)
	}()
}

// recheck checks a connection, which ends where that cannot be done.
func (rs *Rights) recheck(ctx context.Context, c *conns.Conn, turns *turns.Turns) {
	if conns.Guard(rs.node.Logger, func() error { c.Recheck(ctx, turns); return nil }) != nil {
		c.End(&conns.Ending{Reason: "internal", Retry: conns.RetryAfter(), Code: 1011})
	}
}
