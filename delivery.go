package realtime

import (
	"context"

	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Delivery describes one call of a handler.
type Delivery struct {
	Group   string // "" for the handlers registered on the Realtime
	Cursor  Cursor // names the event: it is the same in every attempt, and differs from those of other events
	Attempt int    // 1, 2, …
}

// maxDepth is how many handlers may react to each other in a row.
const maxDepth = 8

type depthKey struct{}

// depth returns the number of handlers in a row that led to ctx.
func depth(ctx context.Context) int {
	n, _ := ctx.Value(depthKey{}).(int)
	return n
}

type deliveryKey struct{}

// DeliveryOf returns the delivery for which a handler was called with ctx. ok is false
// if ctx is not that of a handler.
func DeliveryOf(ctx context.Context) (d Delivery, ok bool) {
	d, ok = ctx.Value(deliveryKey{}).(Delivery)
	return d, ok
}

func delivery(d handle.Delivery) Delivery {
	return Delivery{Group: d.Group, Cursor: Cursor(wire.Cursor(d.Pos)), Attempt: d.Attempt}
}

// delivering returns the context of a call of a handler.
func delivering(ctx context.Context, d handle.Delivery) context.Context {
	ctx = context.WithValue(ctx, depthKey{}, d.Depth+1)
	return context.WithValue(ctx, deliveryKey{}, delivery(d))
}
