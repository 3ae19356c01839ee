package realtime

import (
	"context"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/publish"
)

// Tracer makes the spans of a distributed trace. It may also be a [DeliveryTracer]. The place of an event in its trace
// travels with it through the log, so that a handler on another node continues the trace
// of the request that published it. It is never shown to clients.
//
// The methods may be called concurrently, and must be fast and must not block. They return
// a context for what the span is of, and what ends it, which is called once.
type Tracer interface {
	// Publish begins the span of an event that is being published with ctx, by the host,
	// a handler or a client, and returns what the event must carry. The context of a
	// client's publish is that of the request which opened its WebSocket.
	Publish(ctx context.Context, ev RenEvent) (context.Context, TraceContext, func(error))

	// Handle begins the span of a call of a handler. from is what the event carries, zero
	// if it carries nothing.
	Handle(ctx context.Context, from TraceContext, ev RenEvent, d Delivery) (context.Context, func(error))
}

// DeliveryTracer is a [Tracer] that also makes spans of what comes between a publish and
// those who get the event. Both kinds are made for what is traced anyway: what the publish
// was not sampled for costs nothing. What [Tracer] says of its methods is true of these:
// a Deliver that blocks makes other clients wait.
type DeliveryTracer interface {
	Tracer

	// Append begins the span of the append of an event to the log. ctx is the one that
	// Publish has returned.
	Append(ctx context.Context, ev RenEvent) func(error)

	// Deliver makes the span of an event that has come to this node and was written to a
	// client. from is what the event carries, with the sampled flag set. Of each event
	// only the first 16 deliveries on a node are told, and no replays.
	Deliver(from TraceContext, ev RenEvent, d ClientDelivery)
}

// ClientDelivery describes one delivery of an event to a client.
type ClientDelivery struct {
	Kind    string    // of the connection: "ren" or "websocket"
	Came    time.Time // when the event came to this node
	Written time.Time // when the network had taken it
}

// TraceContext is a place in a trace: the headers of W3C Trace Context
// (https://www.w3.org/TR/trace-context/).
type TraceContext struct {
	Parent string // traceparent; "": none
	State  string // tracestate
}

// The longest headers that an event carries: what is longer is left out.
const (
	maxTraceParent = 128 // version 00 has 55
	maxTraceState  = 512 // section 3.3.1.5
)

// carried returns what an event carries of a context.
func (t TraceContext) carried() backend.Trace {
	switch {
	case t.Parent == "" || len(t.Parent) > maxTraceParent:
		return backend.Trace{}
	case len(t.State) > maxTraceState:
		return backend.Trace{Parent: t.Parent}
	}
	return backend.Trace(t)
}

// tracer returns the tracer of the host's as the publisher calls it.
func (rt *Realtime) tracer() (spans publish.Tracer) {
	t := rt.opts.Tracer
	if t == nil {
		return spans
	}
	spans.Publish = func(ctx context.Context, ev backend.Event) (context.Context, backend.Trace, func(error)) {
		ctx, place, end := t.Publish(ctx, RenEvent(ev))
		return ctx, place.carried(), func(err error) { end(bounded.Public(err)) }
	}
	if t, ok := t.(DeliveryTracer); ok {
		spans.Append = func(ctx context.Context, ev backend.Event) func(error) { return t.Append(ctx, RenEvent(ev)) }
	}
	return spans
}

// errHandler ends the span of a handler that has not returned.
var errHandler = errors.New("realtime: a handler panicked, or ended its goroutine")

// call calls a handler, within a span if there is a tracer.
func (g *Group) call(ctx context.Context, f EventHandler, d handle.Delivery) (err error) {
	ev := RenEvent(*d.Event)
	if g.tracer == nil {
		return f(ctx, ev)
	}
	ctx, end := g.tracer.Handle(ctx, TraceContext(d.Trace), ev, delivery(d))
	err = errHandler // unless it returns
	defer func() { end(err) }()
	err = f(ctx, ev)
	return err
}
