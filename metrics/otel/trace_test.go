package otel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	realtimeotel "github.com/maravilla-realtime/realtime/metrics/otel"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// Trace a request through the log into a handler.
func ExampleNewTracer() {
	spans := tracetest.NewInMemoryExporter() // an OTLP exporter in an app
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	rt, err := realtime.New(realtime.AllowAll(), &realtime.Options{Tracer: realtimeotel.NewTracer(provider)})
	if err != nil {
		panic(err)
	}
	handled := make(chan trace.TraceID)
	err = rt.OnChannel(realtime.ChannelMatch{Channel: "orders"}, func(ctx context.Context, _ realtime.RenEvent) error {
		handled <- trace.SpanContextFromContext(ctx).TraceID()
		return nil
	})
	if err != nil {
		panic(err)
	}

	ctx, request := provider.Tracer("app").Start(context.Background(), "POST /orders")
	_ = rt.Publish(ctx, "orders", "one")
	fmt.Println("the handler continues the trace of the request:", <-handled == request.SpanContext().TraceID())
	request.End()
	_ = rt.Close(context.Background())
	// Output: the handler continues the trace of the request: true
}

func TestTracer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
		rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Tracer: realtimeotel.NewTracer(provider)})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		err = rt.Group("work", &realtime.GroupOptions{Attempts: 1}, func(g *realtime.Group) error {
			return g.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, _ realtime.RenEvent) error {
				return errors.Join(rt.Publish(ctx, "room", 1), errors.New("fault"))
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, request := provider.Tracer("app").Start(t.Context(), "request")
		if err := rt.Emit(ctx, realtime.KVPut("n", "k")); err != nil {
			t.Fatal(err)
		}
		request.End()
		synctest.Wait()
		stubs := spans.GetSpans()
		names := make(map[trace.SpanID]string)
		for _, s := range stubs {
			names[s.SpanContext.SpanID()] = s.Name
			if s.SpanContext.TraceID() != request.SpanContext().TraceID() {
				t.Errorf("%s is of another trace", s.Name)
			}
		}
		var got []string
		for _, s := range stubs {
			got = append(got, describe(s, names[s.Parent.SpanID()]))
		}
		slices.Sort(got)
		want := []string{
			`append kv (client) in "publish kv" messaging.system=maravilla_realtime messaging.destination.name=kv ` +
				`messaging.operation.name=append messaging.operation.type=send`,
			`append realtime (client) in "publish realtime" messaging.system=maravilla_realtime messaging.destination.name=room ` +
				`messaging.operation.name=append messaging.operation.type=send`,
			`handle kv (consumer) in "publish kv": fault messaging.system=maravilla_realtime messaging.destination.name=kv ` +
				`messaging.operation.name=handle messaging.operation.type=process messaging.consumer.group.name=work`,
			`publish kv (producer) in "request" messaging.system=maravilla_realtime messaging.destination.name=kv ` +
				`messaging.operation.name=publish messaging.operation.type=send`,
			`publish realtime (producer) in "handle kv" messaging.system=maravilla_realtime messaging.destination.name=room ` +
				`messaging.operation.name=publish messaging.operation.type=send`,
			`request (internal) in ""`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("spans:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// describe says what a span is, and what it has of a message.
func describe(s tracetest.SpanStub, parent string) string {
	line := fmt.Sprintf("%s (%s) in %q", s.Name, s.SpanKind, parent)
	if s.Status.Code == codes.Error {
		line += ": " + s.Status.Description
	}
	for _, a := range s.Attributes {
		if k := string(a.Key); strings.HasPrefix(k, "messaging.") && k != "messaging.message.id" {
			line += fmt.Sprintf(" %s=%s", k, a.Value.AsString())
		}
	}
	return line
}

// A delivery to a client is a span within that of the publish, from when the event came
// until it was written.
func TestDeliver(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	tracer := realtimeotel.NewTracer(provider).(realtime.DeliveryTracer)
	ev := realtime.RenEvent{Type: "realtime.message", Resource: "realtime", Channel: "room"}
	_, carried, end := tracer.Publish(t.Context(), ev)
	end(nil)
	came := time.Unix(1000, 0)
	tracer.Deliver(carried, ev, realtime.ClientDelivery{Kind: "ren", Came: came, Written: came.Add(time.Second)})
	stubs := spans.GetSpans()
	if len(stubs) != 2 || stubs[1].Name != "deliver realtime" || stubs[1].SpanKind != trace.SpanKindProducer ||
		stubs[1].Parent.SpanID() != stubs[0].SpanContext.SpanID() || stubs[1].SpanContext.TraceID() != stubs[0].SpanContext.TraceID() ||
		!stubs[1].StartTime.Equal(came) || stubs[1].EndTime.Sub(came) != time.Second {
		t.Errorf("%+v", stubs)
	}
}

// What a request was not sampled for is not recorded in its handlers either.
func TestUnsampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
		rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Tracer: realtimeotel.NewTracer(provider)})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		var handled trace.SpanContext
		err = rt.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, _ realtime.RenEvent) error {
			handled = trace.SpanContextFromContext(ctx)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, request := provider.Tracer("app").Start(t.Context(), "request")
		if err := rt.Emit(ctx, realtime.KVPut("n", "k")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if handled.TraceID() != request.SpanContext().TraceID() || handled.IsSampled() || len(spans.GetSpans()) > 0 {
			t.Errorf("%v, %d spans", handled, len(spans.GetSpans()))
		}
	})
}
