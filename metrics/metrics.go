// Package metrics gives the figures of [realtime.Stats] names, units and labels, for
// exporters. Package metrics/prometheus and metrics/otel, which are modules of their own,
// export them to Prometheus and OpenTelemetry; an exporter to something else is a loop:
//
//	stats := rt.Stats()
//	for _, m := range metrics.List() {
//		for _, sample := range m.Samples(&stats) {
//			send(m.Name, sample.Labels, sample.Value)
//		}
//	}
package metrics

import (
	"maps"
	"slices"

	"github.com/maravilla-realtime/realtime"
)

// Kind is what a metric does.
type Kind int

// The kinds.
const (
	Counter   Kind = iota // only grows while the process lives
	Gauge                 // goes up and down
	Histogram             // counts durations in buckets
)

// Metric is a figure, or one figure for each of some things.
type Metric struct {
	Name   string // words in lower case, with dots between them
	Help   string // one sentence
	Unit   string // by UCUM: "s" for seconds, "By" for bytes, and annotations such as "{event}"
	Kind   Kind
	Labels []string // names of the labels

	samples func(*realtime.Stats) []Sample
}

// Sample is one value of a metric.
type Sample struct {
	Labels    []string           // values, in the order of [Metric].Labels
	Value     float64            // in the unit of the metric; not of a histogram
	Histogram realtime.Histogram // of a metric of that kind
}

// Samples returns the values of a metric, ordered by their labels. A metric has the same
// ones each time, except those with the label "group", which has the groups of handlers
// that the host has added.
func (m Metric) Samples(s *realtime.Stats) []Sample { return m.samples(s) }

// List returns all metrics.
func List() []Metric {
	return slices.Concat(connections, delivery, publishing, log, presence, streams, groups, calls)
}

// one is a metric without labels.
func one(value func(*realtime.Stats) float64) func(*realtime.Stats) []Sample {
	return func(s *realtime.Stats) []Sample { return []Sample{{Value: value(s)}} }
}

// named is a metric with one label.
func named(values func(*realtime.Stats) map[string]uint64) func(*realtime.Stats) []Sample {
	return func(s *realtime.Stats) []Sample { return byName(values(s)) }
}

func byName[V int | int64 | uint64 | float64](values map[string]V) (samples []Sample) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		samples = append(samples, Sample{Labels: []string{name}, Value: float64(values[name])})
	}
	return samples
}

// each is a metric of things that have names, each with any number of samples.
func each[T any](things func(*realtime.Stats) map[string]T, samples func(T) []Sample) func(*realtime.Stats) []Sample {
	return func(s *realtime.Stats) (all []Sample) {
		list := things(s)
		for _, name := range slices.Sorted(maps.Keys(list)) {
			for _, sample := range samples(list[name]) {
				sample.Labels = append([]string{name}, sample.Labels...)
				all = append(all, sample)
			}
		}
		return all
	}
}

// number is the one sample of a thing.
func number[T any, V int | int64 | uint64 | float64](value func(T) V) func(T) []Sample {
	return func(thing T) []Sample { return []Sample{{Value: float64(value(thing))}} }
}

func buckets[T any](h func(T) realtime.Histogram) func(T) []Sample {
	return func(thing T) []Sample { return []Sample{{Histogram: h(thing)}} }
}

func kinds(s *realtime.Stats) map[string]realtime.ConnectionStats {
	return map[string]realtime.ConnectionStats{"ren": s.REN, "websocket": s.WebSocket}
}

func groupsOf(s *realtime.Stats) map[string]realtime.GroupStats { return s.Groups }

func methods(s *realtime.Stats) map[string]realtime.CallStats { return s.Backend.Methods }

func functions(s *realtime.Stats) map[string]realtime.CallStats { return s.Policy.Functions }

func outcomes(c realtime.CallStats) []Sample { return byName(c.Outcomes) }

func callTime(c realtime.CallStats) realtime.Histogram { return c.Time }

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
