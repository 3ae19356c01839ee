package realtime

import (
	"context"

	"github.com/maravilla-realtime/realtime/internal/engine"
)

// Node returns the name of this node in the cluster, which is another one after each
// [New].
func (rt *Realtime) Node() string { return rt.presence.engine.Name() }

// Nodes lists the nodes of the cluster that have not been given up, this one included. A
// node that has died is listed for at most 30 s. If ctx has no deadline, it returns
// within 5 s. Errors: [ErrClosed], [ErrTemporary], and those of ctx and of the backend.
func (rt *Realtime) Nodes(ctx context.Context) ([]string, error) {
	if rt.alone() {
		return []string{rt.Node()}, nil
	}
	ctx, cancel := engine.Within(ctx, engine.CallTime)
	defer cancel()
	names, err := rt.presence.engine.Nodes(ctx)
	return names, publicError(err)
}
