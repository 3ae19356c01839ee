package conns

import (
	"context"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
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
