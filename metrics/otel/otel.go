// Package otel exports the figures of a Realtime through OpenTelemetry, and traces its
// events: see [NewTracer].
//
// # Figures
//
// Counters and gauges are observable instruments of any MeterProvider. OpenTelemetry has
// no observable histograms, so these come from a producer, which the reader of the SDK is
// given:
//
//	reader := metric.NewPeriodicReader(exporter, metric.WithProducer(otel.Histograms(rt)))
//	provider := metric.NewMeterProvider(metric.WithReader(reader))
//	_, err := otel.Register(rt, provider)
//
// The names are those of package metrics with the prefix maravilla.realtime., such as
// maravilla.realtime.delivery.latency, in the units that it names. docs/operations.md says
// what each of them means and what to do about it.
package otel

import (
	"context"
	"fmt"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/metrics"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Source has the figures. A [*realtime.Realtime] is one.
type Source interface{ Stats() realtime.Stats }

// scope is the instrumentation scope of all metrics.
const scope = "github.com/maravilla-realtime/realtime"

// Name returns the name of a metric in OpenTelemetry.
func Name(m metrics.Metric) string { return "maravilla.realtime." + m.Name }

// Register makes an instrument of each counter and gauge. They are read together, when
// the provider collects. Unregister ends that. The error is the provider's.
func Register(s Source, p metric.MeterProvider) (metric.Registration, error) {
	meter := p.Meter(scope)
	var list []instrument
	var all []metric.Observable
	for _, m := range metrics.List() {
		var o metric.Float64Observable
		var err error
		switch m.Kind {
		case metrics.Counter:
			o, err = meter.Float64ObservableCounter(Name(m), metric.WithDescription(m.Help), metric.WithUnit(m.Unit))
		case metrics.Gauge:
			o, err = meter.Float64ObservableGauge(Name(m), metric.WithDescription(m.Help), metric.WithUnit(m.Unit))
		default:
			continue // see Histograms
		}
		if err != nil {
			return nil, fmt.Errorf("realtime: instrument %s: %w", Name(m), err)
		}
		list, all = append(list, instrument{m, o}), append(all, o)
	}
	return meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		stats := s.Stats()
		for _, i := range list {
			for _, sample := range i.Samples(&stats) {
				to.ObserveFloat64(i.observable, sample.Value, metric.WithAttributeSet(attributes(i.Metric, sample)))
			}
		}
		return nil
	}, all...)
}

type instrument struct {
	metrics.Metric
	observable metric.Float64Observable
}

func attributes(m metrics.Metric, s metrics.Sample) attribute.Set {
	list := make([]attribute.KeyValue, len(m.Labels))
	for i, name := range m.Labels {
		list[i] = attribute.String(name, s.Labels[i])
	}
	return attribute.NewSet(list...)
}

// Histograms returns a producer of the histograms, for [sdk.WithProducer]. They are
// cumulative since the node began.
func Histograms(s Source) sdk.Producer { return producer{s} }

type producer struct{ source Source }

// Produce implements [sdk.Producer].
func (p producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	stats, now := p.source.Stats(), time.Now()
	var list []metricdata.Metrics
	for _, m := range metrics.List() {
		if m.Kind != metrics.Histogram {
			continue
		}
		h := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
		for _, sample := range m.Samples(&stats) {
			h.DataPoints = append(h.DataPoints, metricdata.HistogramDataPoint[float64]{
				Attributes: attributes(m, sample), StartTime: stats.Started, Time: now,
				Count: sample.Histogram.Count(), Sum: sample.Histogram.Sum.Seconds(),
				Bounds: bounds(), BucketCounts: sample.Histogram.Counts,
			})
		}
		list = append(list, metricdata.Metrics{Name: Name(m), Description: m.Help, Unit: m.Unit, Data: h})
	}
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: scope}, Metrics: list}}, nil
}

// bounds are the bounds of the buckets in seconds, each included in its bucket, as
// OpenTelemetry counts.
func bounds() (seconds []float64) {
	for _, bound := range realtime.HistogramBounds() {
		seconds = append(seconds, bound.Seconds())
	}
	return seconds
}
