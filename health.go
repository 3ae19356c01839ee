package realtime

import (
	"context"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// healthTime is the time that Health waits if ctx has no deadline.
const healthTime = 2 * time.Second

// Health returns nil if this node can serve clients: it is not being closed, its
// backend answers, and all events stored so far, by any node, reach this one before ctx
// ends, or within 2 s if ctx has no deadline. It is for the readiness probe of a load
// balancer, and writes nothing to the backend. Errors: [ErrClosed], and those of the
// backend and of ctx.
func (rt *Realtime) Health(ctx context.Context) error {
	ctx, cancel := bounded.Within(ctx, healthTime)
	defer cancel()
	if rt.conns.IsClosed() {
		return ErrClosed
	}
	page, err := rt.backend.Read(ctx, rt.ring.Head(), 0)
	if err != nil {
		return fault.Errorf("realtime: the backend does not answer: %w", bounded.Public(err))
	}
	if err := rt.ring.Wait(ctx, page.Head); err != nil {
		return fault.Errorf("realtime: the backend has events that do not come through: %w", err)
	}
	return nil
}

// Node returns the name of this node in the cluster, which is another one after each
// [New].
func (rt *Realtime) Node() string { return rt.presence.inner.Name() }

// Nodes lists the nodes of the cluster that have not been given up, this one included. A
// node that has died is listed for at most 30 s. If ctx has no deadline, it returns
// within 5 s. Errors: [ErrClosed], [ErrTemporary], and those of ctx and of the backend.
func (rt *Realtime) Nodes(ctx context.Context) ([]string, error) {
	if rt.alone() {
		return []string{rt.Node()}, nil
	}
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	names, err := rt.presence.inner.Nodes(ctx)
	return names, bounded.Public(err)
}
