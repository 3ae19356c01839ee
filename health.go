package realtime

import (
	"context"
	"fmt"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/ring"
)

// healthTime is how long Health waits where ctx has no deadline.
const healthTime = 2 * time.Second

// Health returns nil if this node can serve clients: it is not being closed, its
// backend answers, and whatever the backend has stored so far, for any node,
// comes through to this one before ctx ends, or within 2 s if ctx has no
// deadline. It is meant for the readiness probe of a load balancer, and writes
// nothing. Errors: [ErrClosed], and from the backend or ctx others.
func (rt *Realtime) Health(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, healthTime)
		defer cancel()
	}
	if rt.conns.isShut() {
		return ErrClosed
	}
	page, err := rt.backend.Read(ctx, rt.ring.Head(), 0)
	if err != nil {
		return fmt.Errorf("realtime: the backend does not answer: %w", publicError(err))
	}
	if err := rt.reach(ctx, page.Head); err != nil {
		return fmt.Errorf("realtime: the backend has events that do not come through: %w", err)
	}
	return nil
}

// reach waits until the log has been read up to pos.
func (rt *Realtime) reach(ctx context.Context, pos backend.Position) error {
	reader := rt.ring.NewReader()
	defer reader.Close()
	reader.Subscribe(nil, ring.Topic{})
	for rt.ring.Head().Compare(pos) < 0 {
		if err := ctx.Err(); err != nil { // where much comes in, both cases below are ready
			return err
		}
		select {
		case <-reader.Wake():
			reader.Skip()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
