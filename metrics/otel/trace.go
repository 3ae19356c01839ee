package otel

import (
	"context"

	"github.com/maravilla-realtime/realtime"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// NewTracer returns a tracer for [realtime.Options], a [realtime.DeliveryTracer]. It makes
// a span of each publish, a child of the one in its context, and as children of that,
// wherever they happen: one of the append to the log, one of each call of a handler, and one
// of each of the first 16 deliveries on a node, from when the event came there until it was
// written to the client. What is not sampled is not recorded, nor are its children.
//
// Names and attributes are those of OpenTelemetry's conventions for messaging: the system is
// maravilla_realtime, the destination is the channel, or the resource where there is none.
// Channels are attributes and not part of the name, since there may be many.
func NewTracer(p trace.TracerProvider) realtime.Tracer { return tracer{p.Tracer(scope)} }

type tracer struct{ trace.Tracer }

// w3c writes and reads traceparent and tracestate.
var w3c propagation.TraceContext

// Publish implements [realtime.Tracer].
func (t tracer) Publish(ctx context.Context, ev realtime.RenEvent) (context.Context, realtime.TraceContext, func(error)) {
	ctx, span := t.Start(ctx, "publish "+ev.Resource, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(append(about(ev), semconv.MessagingOperationName("publish"), semconv.MessagingOperationTypeSend)...))
	headers := propagation.MapCarrier{}
	w3c.Inject(ctx, headers)
	return ctx, realtime.TraceContext{Parent: headers["traceparent"], State: headers["tracestate"]}, func(err error) { end(span, err) }
}

// Handle implements [realtime.Tracer].
func (t tracer) Handle(ctx context.Context, from realtime.TraceContext, ev realtime.RenEvent, d realtime.Delivery) (context.Context, func(error)) {
	ctx, span := t.Start(remote(ctx, from), "handle "+ev.Resource, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(append(about(ev), semconv.MessagingOperationName("handle"), semconv.MessagingOperationTypeProcess,
			semconv.MessagingConsumerGroupName(d.Group), semconv.MessagingMessageID(string(d.Cursor)),
			attribute.Int("maravilla.realtime.attempt", d.Attempt))...))
	return ctx, func(err error) { end(span, err) }
}

// Append implements [realtime.DeliveryTracer].
func (t tracer) Append(ctx context.Context, ev realtime.RenEvent) func(error) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return func(error) {}
	}
	_, span := t.Start(ctx, "append "+ev.Resource, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(append(about(ev), semconv.MessagingOperationName("append"), semconv.MessagingOperationTypeSend)...))
	return func(err error) { end(span, err) }
}

// Deliver implements [realtime.DeliveryTracer].
func (t tracer) Deliver(from realtime.TraceContext, ev realtime.RenEvent, d realtime.ClientDelivery) {
	_, span := t.Start(remote(context.Background(), from), "deliver "+ev.Resource,
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(d.Came),
		trace.WithAttributes(append(about(ev), semconv.MessagingOperationName("deliver"), semconv.MessagingOperationTypeSend,
			attribute.String("maravilla.realtime.connection.kind", d.Kind))...))
	span.End(trace.WithTimestamp(d.Written))
}

// remote returns ctx within the span that an event carries.
func remote(ctx context.Context, from realtime.TraceContext) context.Context {
	return w3c.Extract(ctx, propagation.MapCarrier{"traceparent": from.Parent, "tracestate": from.State})
}

// about are the attributes that a publish and its handlers share.
func about(ev realtime.RenEvent) []attribute.KeyValue {
	destination := ev.Channel
	if destination == "" {
		destination = ev.Resource
	}
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String("maravilla_realtime"), semconv.MessagingDestinationName(destination),
		attribute.String("maravilla.realtime.event.type", ev.Type),
	}
}

func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetAttributes(semconv.ErrorType(err))
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
