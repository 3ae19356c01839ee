package conns

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
)

// Outlast returns a context that ends d after ctx.
func Outlast(ctx context.Context, d time.Duration) (late context.Context, cancel func()) {
	late, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			end(fault.Errorf("realtime: a handler or the policy does not return: %w", ctx.Err()))
		case <-late.Done():
		}
	})
	return late, func() { stop(); end(nil) }
}

// Await waits for all until ctx ends. The error is the cause of that.
func Await(ctx context.Context, all *sync.WaitGroup) error {
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

// RetryAfter spreads the return of clients that are sent away for a moment.
func RetryAfter() time.Duration { return time.Second + rand.N(4*time.Second) }

// Guard calls f, which a connection depends on, and logs a panic of it: the host's policy,
// or this library, has a fault. Its error is then [guard.ErrPanic].
func Guard(log *slog.Logger, f func() error) error {
	return guard.Log(log, "realtime: panic; the connection is dropped", f)
}
