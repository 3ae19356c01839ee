package metricstest

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	realtimeprom "github.com/maravilla-realtime/realtime/metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/util/teststorage"
)

const (
	scrapes = 48 // a little more than the longest window of an alert
	every   = 15 * time.Second
)

var (
	began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ended = began.Add((scrapes - 1) * every)
)

// recording is a run of a node, as Prometheus has scraped it.
type recording struct {
	t       *testing.T
	storage *teststorage.TestStorage
	engine  *promql.Engine
}

// source is a node whose figures change with each scrape.
type source struct{ stats realtime.Stats }

func (s *source) Stats() realtime.Stats { return s.stats }

// record scrapes a node that does what nodes do all day, and work besides.
func record(t *testing.T, work func(s *realtime.Stats)) *recording {
	t.Helper()
	r := &recording{t: t, storage: teststorage.New(t), engine: promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)}
	node := &source{idle(t)}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(realtimeprom.New(node))
	for i := range scrapes {
		usual(&node.stats)
		work(&node.stats)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		r.store(began.Add(time.Duration(i)*every), families)
	}
	return r
}

// idle returns the figures of a node that has done nothing, with a group of handlers.
func idle(t *testing.T) realtime.Stats {
	t.Helper()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	err = rt.Group("work", nil, func(g *realtime.Group) error {
		return g.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return rt.Stats()
}

// usual is what happens on a node between two scrapes that nobody should be woken for.
func usual(s *realtime.Stats) {
	for _, c := range []*realtime.ConnectionStats{&s.REN, &s.WebSocket} {
		c.Open, c.Opened, c.Delivered, c.Bytes = 1000, c.Opened+20, c.Delivered+50_000, c.Bytes+5_000_000
		c.Ended["client"] += 18
		c.Ended["rotate"]++
		observe(&c.Latency, time.Millisecond, 10_000)
	}
	s.Refusals["forbidden"]++
	s.Operations["publish"] += 100
	s.Publish.Outcomes["ok"] += 1000
	s.Ephemeral.Outcomes["ok"] += 100
	s.Ephemeral.Received, s.Ephemeral.Coalesced, s.Coalesced = s.Ephemeral.Received+100, s.Ephemeral.Coalesced+20, s.Coalesced+50
	observe(&s.Publish.Time, time.Millisecond, 1000)
	observe(&s.Follow.Lag, 5*time.Millisecond, 1000)
	s.History.Age, s.History.Events, s.History.Added = 5*time.Minute, 20_000, s.History.Added+1000
	s.History.Evicted["age"] += 1000
	s.Presence.Joins, s.Presence.Leaves = s.Presence.Joins+5, s.Presence.Leaves+5
	group(s, func(g *realtime.GroupStats) {
		g.Held = true
		observe(&g.Calls, 10*time.Millisecond, 100)
	})
	for _, calls := range []map[string]realtime.CallStats{s.Backend.Methods, s.Policy.Functions} {
		for name, c := range calls {
			if _, ok := c.Outcomes["ok"]; ok {
				c.Outcomes["ok"] += 100
			}
			observe(&c.Time, time.Millisecond, 100)
			calls[name] = c
		}
	}
}

// observe adds n durations to a histogram.
func observe(h *realtime.Histogram, d time.Duration, n uint64) {
	i, _ := slices.BinarySearch(realtime.HistogramBounds(), d)
	h.Counts[i] += n
	h.Sum += time.Duration(n) * d
}

// group changes the figures of the group.
func group(s *realtime.Stats, f func(g *realtime.GroupStats)) {
	g := s.Groups["work"]
	f(&g)
	s.Groups = maps.Clone(s.Groups)
	s.Groups["work"] = g
}

// store stores a scrape as Prometheus does.
func (r *recording) store(at time.Time, families []*dto.MetricFamily) {
	app := r.storage.Appender(context.Background())
	put := func(name string, value float64, m *dto.Metric, more ...string) {
		b := labels.NewBuilder(labels.FromStrings(append([]string{"__name__", name, "job", "realtime", "instance", "node-1"}, more...)...))
		for _, l := range m.Label {
			b.Set(l.GetName(), l.GetValue())
		}
		if _, err := app.Append(0, b.Labels(), at.UnixMilli(), value); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, f := range families {
		for _, m := range f.Metric {
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				put(f.GetName(), m.Counter.GetValue(), m)
			case dto.MetricType_GAUGE:
				put(f.GetName(), m.Gauge.GetValue(), m)
			case dto.MetricType_HISTOGRAM:
				for _, b := range m.Histogram.Bucket {
					put(f.GetName()+"_bucket", float64(b.GetCumulativeCount()), m, "le", model.SampleValue(b.GetUpperBound()).String())
				}
				put(f.GetName()+"_bucket", float64(m.Histogram.GetSampleCount()), m, "le", "+Inf")
				put(f.GetName()+"_count", float64(m.Histogram.GetSampleCount()), m)
				put(f.GetName()+"_sum", m.Histogram.GetSampleSum(), m)
			default:
				r.t.Fatalf("%s is a %v", f.GetName(), f.GetType())
			}
		}
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// ask returns what a query yields at the end of the run.
func (r *recording) ask(query string) promql.Vector {
	r.t.Helper()
	q, err := r.engine.NewInstantQuery(context.Background(), r.storage, nil, query, ended)
	if err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	defer q.Close()
	v, err := q.Exec(context.Background()).Vector()
	if err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return slices.Clone(v)
}
