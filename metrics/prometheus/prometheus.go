// Package prometheus exports the figures of a Realtime to Prometheus:
//
//	prometheus.MustRegister(realtimeprom.New(rt))
//	mux.Handle("/metrics", promhttp.Handler())
//
// The names are those of package metrics with the prefix maravilla_realtime_, the unit,
// and _total for counters: maravilla_realtime_delivery_latency_seconds. docs/operations.md
// says what each of them means and what to do about it. dashboard.json, for Grafana, and
// alerts.yaml are made of them.
package prometheus

import (
	"strings"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/metrics"
	"github.com/prometheus/client_golang/prometheus"
)

// Source has the figures. A [*realtime.Realtime] is one.
type Source interface{ Stats() realtime.Stats }

// New returns a collector of the figures of one Realtime. It reads them when it is
// scraped. To register several in one process, tell them apart with
// [prometheus.WrapRegistererWith].
func New(s Source) prometheus.Collector {
	c := &collector{source: s}
	for _, m := range metrics.List() {
		c.metrics = append(c.metrics, described{m, prometheus.NewDesc(Name(m), m.Help, m.Labels, nil)})
	}
	return c
}

// Name returns the name of a metric in Prometheus.
func Name(m metrics.Metric) string {
	name := "maravilla_realtime_" + strings.ReplaceAll(m.Name, ".", "_")
	switch m.Unit {
	case "s":
		name += "_seconds"
	case "By":
		name += "_bytes"
	}
	if m.Kind == metrics.Counter {
		name += "_total"
	}
	return name
}

type collector struct {
	source  Source
	metrics []described
}

type described struct {
	metrics.Metric
	desc *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	stats := c.source.Stats()
	for _, m := range c.metrics {
		for _, sample := range m.Samples(&stats) {
			ch <- m.collect(sample)
		}
	}
}

func (m described) collect(s metrics.Sample) prometheus.Metric {
	switch m.Kind {
	case metrics.Histogram:
		count, buckets := cumulate(s.Histogram)
		return prometheus.MustNewConstHistogram(m.desc, count, s.Histogram.Sum.Seconds(), buckets, s.Labels...)
	case metrics.Counter:
		return prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, s.Value, s.Labels...)
	default:
		return prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, s.Value, s.Labels...)
	}
}

// cumulate returns the count of a histogram, and for each bound how many durations are at
// most that, as Prometheus counts.
func cumulate(h realtime.Histogram) (count uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64)
	for i, bound := range realtime.HistogramBounds() {
		if i < len(h.Counts) {
			count += h.Counts[i]
		}
		buckets[bound.Seconds()] = count
	}
	return h.Count(), buckets
}
