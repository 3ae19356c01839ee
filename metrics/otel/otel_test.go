package otel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/metrics"
	realtimeotel "github.com/maravilla-realtime/realtime/metrics/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Give the reader the histograms and the provider everything else.
func Example() {
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		panic(err)
	}
	defer rt.Close(context.Background())

	reader := metric.NewManualReader(metric.WithProducer(realtimeotel.Histograms(rt))) // a PeriodicReader with an exporter in an app
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer provider.Shutdown(context.Background())
	if _, err := realtimeotel.Register(rt, provider); err != nil {
		panic(err)
	}

	_ = rt.Publish(context.Background(), "room:42", "hello")
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &collected); err != nil {
		panic(err)
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			if h, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == "maravilla.realtime.publish.duration" {
				fmt.Println(m.Name, m.Unit, h.DataPoints[0].Count)
			}
		}
	}
	// Output: maravilla.realtime.publish.duration s 1
}

// fixed are figures that do not change.
type fixed realtime.Stats

func (f fixed) Stats() realtime.Stats { return realtime.Stats(f) }

// collect returns what is exported, each sample once.
func collect(t *testing.T, s realtimeotel.Source) (map[string]metricdata.Metrics, map[string]float64) {
	t.Helper()
	reader := metric.NewManualReader(metric.WithProducer(realtimeotel.Histograms(s)))
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer provider.Shutdown(context.Background())
	if _, err := realtimeotel.Register(s, provider); err != nil {
		t.Fatal(err)
	}
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	all, values := make(map[string]metricdata.Metrics), make(map[string]float64)
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			if _, twice := all[m.Name]; twice || scope.Scope.Name != "github.com/maravilla-realtime/realtime" {
				t.Errorf("%s stands twice, or in the scope %q", m.Name, scope.Scope.Name)
			}
			all[m.Name] = m
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				if !data.IsMonotonic || data.Temporality != metricdata.CumulativeTemporality {
					t.Errorf("%s does not only grow", m.Name)
				}
				numbers(values, m.Name, data.DataPoints)
			case metricdata.Gauge[float64]:
				numbers(values, m.Name, data.DataPoints)
			}
		}
	}
	return all, values
}

func numbers(to map[string]float64, name string, points []metricdata.DataPoint[float64]) {
	for _, p := range points {
		for _, a := range p.Attributes.ToSlice() {
			name += fmt.Sprintf(" %s=%s", a.Key, a.Value.AsString())
		}
		to[name] = p.Value
	}
}

// Every metric is exported, with its unit, kind and labels.
func TestEverythingIsExported(t *testing.T) {
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(t.Context())
	err = rt.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	all, _ := collect(t, rt)
	for _, m := range metrics.List() {
		got, ok := all[realtimeotel.Name(m)]
		kind := metrics.Kind(-1)
		switch got.Data.(type) {
		case metricdata.Sum[float64]:
			kind = metrics.Counter
		case metricdata.Gauge[float64]:
			kind = metrics.Gauge
		case metricdata.Histogram[float64]:
			kind = metrics.Histogram
		}
		if !ok || got.Unit != m.Unit || got.Description != m.Help || kind != m.Kind {
			t.Errorf("%s is exported as %+v", m.Name, got)
		}
	}
	if len(all) != len(metrics.List()) {
		t.Errorf("%d metrics, want %d", len(all), len(metrics.List()))
	}
}

func TestValues(t *testing.T) {
	counts := make([]uint64, len(realtime.HistogramBounds())+1)
	counts[3] = 2
	s := fixed{
		Users:    5,
		Publish:  realtime.PublishStats{Time: realtime.Histogram{Counts: counts, Sum: 1500000}},
		Refusals: map[string]uint64{"forbidden": 7},
	}
	all, values := collect(t, s)
	if values["maravilla.realtime.users"] != 5 || values["maravilla.realtime.refusals code=forbidden"] != 7 {
		t.Errorf("%v", values)
	}
	h := all["maravilla.realtime.publish.duration"].Data.(metricdata.Histogram[float64]).DataPoints[0]
	if h.Count != 2 || h.Sum != 0.0015 || h.BucketCounts[3] != 2 || h.Bounds[2] != 0.0005 || h.Bounds[3] != 0.001 {
		t.Errorf("%+v", h)
	}
}

// What is unregistered is read no more.
func TestUnregister(t *testing.T) {
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	defer provider.Shutdown(context.Background())
	registration, err := realtimeotel.Register(fixed{}, provider)
	if err != nil || registration.Unregister() != nil {
		t.Fatal(err)
	}
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil || len(collected.ScopeMetrics) > 0 {
		t.Errorf("%v, %+v", err, collected)
	}
}
