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

// NewTracer returns a tracer for [realtime.Options]. It makes a span of each publish, a
// child of the one in its context, and one of each call of a handler, a child of the
// publish, wherever that was. What is not sampled is not recorded, and its handlers are
// not either.
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
	ctx = w3c.Extract(ctx, propagation.MapCarrier{"traceparent": from.Parent, "tracestate": from.State})
	ctx, span := t.Start(ctx, "handle "+ev.Resource, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(append(about(ev), semconv.MessagingOperationName("handle"), semconv.MessagingOperationTypeProcess,
			semconv.MessagingConsumerGroupName(d.Group), semconv.MessagingMessageID(string(d.Cursor)),
			attribute.Int("maravilla.realtime.attempt", d.Attempt))...))
	return ctx, func(err error) { end(span, err) }
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
