package realtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Close accepts nothing more, but for what handlers cause while they finish with
// what was accepted so far, which it lets them do within half of the time that ctx
// leaves. Then it ends all connections, each with all of that, telling clients to
// come back after a random delay within the rest, then the background work and the
// backend. It has 5 s if ctx has no deadline. Where time runs out, the contexts of
// handlers are cancelled, connections are dropped and the error of the context is
// returned. When it returns, no goroutine of the library is left, unless a function
// of the host's (a handler, the policy) does not return: it is left behind 2 s after
// its context has ended. So a handler that calls Close holds it up, and gets an
// error. Calls after the first wait for it and return the same.
//
// [Serve] shuts a server down together with the Realtime, in the right order. A
// host that runs its server itself must do the same: [http.Server.Shutdown] waits
// for streams, but not for WebSockets.
//
//	srv.RegisterOnShutdown(func() { _ = rt.Close(ctx) })
//	err := errors.Join(srv.Shutdown(ctx), rt.Close(ctx))
func (rt *Realtime) Close(ctx context.Context) error {
	rt.closing.Do(func() { rt.closeErr = rt.shutDown(ctx) })
	return rt.closeErr
}

const closeTime = 5 * time.Second

func (rt *Realtime) shutDown(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, closeTime)
		defer cancel()
	}
	defer context.AfterFunc(ctx, rt.stop)()
	late, giveUp := outlast(ctx, leaveBehind)
	defer giveUp()
	rt.conns.shut()
	rt.closeGate(ctx, &rt.byHost)
	handled := rt.groups.drain(ctx)
	rt.closeGate(ctx, &rt.byHandlers) // what groups that are not done cause now would reach nobody
	if handled == nil {
		rt.groups.stop() // another node goes on with them at once
	}
	drained := rt.conns.drain(ctx, late, rt.ring.Head())
	rt.stop()
	rt.rechecks.close(late)
	return errors.Join(handled, drained, await(late, &rt.background), rt.decided(late), rt.backend.Close(ctx))
}

// leaveBehind is how much longer than its context Close waits for what ends with
// it, so that a function of the host's that does not return cannot keep it.
const leaveBehind = 2 * time.Second

// decided waits for what is left of the calls of the policy: their contexts have
// ended.
func (rt *Realtime) decided(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, leaveBehind,
		fmt.Errorf("realtime: the policy does not return: %w", context.DeadlineExceeded))
	defer cancel()
	return rt.deciding.Wait(ctx)
}

// outlast returns a context that ends d after ctx.
func outlast(ctx context.Context, d time.Duration) (late context.Context, cancel func()) {
	late, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			end(fmt.Errorf("realtime: a handler or the policy does not return: %w", ctx.Err()))
		case <-late.Done():
		}
	})
	return late, func() { stop(); end(nil) }
}

// await waits for all until ctx ends.
func await(ctx context.Context, all *sync.WaitGroup) error {
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// closeGate closes a gate, and waits until those who are in have passed, and what they
// had accepted has come back through the log.
func (rt *Realtime) closeGate(ctx context.Context, g *gate) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	g.close(ctx)
	rt.waitAccepted(ctx)
}
