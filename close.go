package realtime

import (
	"context"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// Close shuts down in four steps:
//
//  1. It refuses new connections, and new publishes with [ErrClosed], except those made
//     by running handlers.
//  2. It waits for handlers to handle all events accepted so far, for at most half of
//     the time left in ctx. Then it fails the growing messages that are still open here.
//  3. It delivers the outstanding events to every connection and ends it, telling
//     clients to come back after a random delay within the rest of the time.
//  4. It stops the background work. It closes the backend only if [New] opened it.
//
// It has 5 s if ctx has no deadline. If time runs out, it cancels the contexts of
// handlers, drops connections and returns the error of the context. When it returns, no
// goroutine of the library is left, except one whose function of the host (a handler,
// the policy) has not returned 2 s after its context has ended. So a handler that calls
// Close delays it, and gets an error. Further calls wait for the first and return the
// same.
//
// [Serve] shuts a server down together with the Realtime, in the right order. A
// host that runs its server itself must do the same: [http.Server.Shutdown] waits
// for streams, but neither for WebSockets nor for streams that have left net/http
// (see [Hijack]).
//
//	srv.RegisterOnShutdown(func() { _ = rt.Close(ctx) })
//	err := errors.Join(srv.Shutdown(ctx), rt.Close(ctx))
func (rt *Realtime) Close(ctx context.Context) error {
	rt.closing.Do(func() { rt.closeErr = rt.shutDown(ctx) })
	return rt.closeErr
}

const closeTime = 5 * time.Second

func (rt *Realtime) shutDown(ctx context.Context) error {
	ctx, cancel := bounded.Within(ctx, closeTime)
	defer cancel()
	defer context.AfterFunc(ctx, rt.stop)()
	late, giveUp := conns.Outlast(ctx, leaveBehind)
	defer giveUp()
	rt.conns.Close()
	rt.groups.Close()
	rt.publisher.EndHost(ctx)
	handled := rt.groups.Drain(ctx)
	rt.failStreams(ctx)
	rt.publisher.EndHandlers(ctx) // events of groups that are not done would reach no client
	if handled == nil {
		rt.groups.Stop() // so that another node can take them over at once
	}
	drained := rt.conns.Drain(ctx, late, rt.ring.Head())
	rt.stop()
	rt.shards.Close()
	rt.rights.Close(late)
	ended := conns.Await(late, &rt.background)
	if ended == nil && late.Err() == nil {
		rt.sayEnded(late)
	}
	return errors.Join(handled, drained, ended, rt.decided(late), rt.backend.Close(ctx))
}

// endTime is the time that Close waits for the backend to record that the node has ended.
const endTime = time.Second

// sayEnded tells the other nodes that this one has ended, so that Revoke and Recheck do
// not wait for it. Otherwise they take it for alive until they give it up.
func (rt *Realtime) sayEnded(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if err := rt.presence.inner.End(ctx); err != nil {
		rt.log.Warn("realtime: other nodes are not told that this one has ended; their Revoke and Recheck wait for it until they give it up", "error", err)
	}
}

// leaveBehind is the time after the end of its context that Close waits for functions
// of the host. It then abandons those that have not returned.
const leaveBehind = 2 * time.Second

// decided waits for calls of the policy, and of Options.History.Older, that have not
// returned. Their contexts must have ended.
func (rt *Realtime) decided(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, leaveBehind,
		fault.Errorf("realtime: the policy, or History.Older, does not return: %w", context.DeadlineExceeded))
	defer cancel()
	return errors.Join(rt.deciding.Wait(ctx), rt.older.Wait(ctx))
}
