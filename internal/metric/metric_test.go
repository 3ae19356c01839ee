package metric_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/internal/metric"
)

// A bound belongs to the bucket that it bounds: so do Prometheus and OpenTelemetry count.
func TestHistogram(t *testing.T) {
	bounds := metric.Bounds()
	if !slices.IsSorted(bounds) {
		t.Fatal("the bounds are not sorted")
	}
	last := len(bounds)
	for _, c := range []struct {
		d      time.Duration
		bucket int
	}{
		{0, 0}, {-time.Second, 0}, {bounds[0], 0}, {bounds[0] + 1, 1}, {bounds[1], 1},
		{bounds[last-1], last - 1}, {bounds[last-1] + 1, last}, {time.Hour, last},
	} {
		var h metric.Histogram
		h.Observe(c.d)
		var got, want metric.Buckets
		want.Counts[c.bucket], want.Sum = 1, max(c.d, 0)
		if h.AddTo(&got); got != want {
			t.Errorf("%v: %s", c.d, cmp.Diff(want, got))
		}
	}
}

// Nothing is lost when many count at once, and several histograms can be added up.
func TestConcurrent(t *testing.T) {
	const goroutines, each = 8, 1000
	var c metric.Counter
	var h [2]metric.Histogram
	s := metric.NewSet("other", "a", "b", "other")
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() {
			for range each {
				c.Inc()
				c.Add(2)
				h[i%2].Observe(time.Millisecond)
				s.Inc([]string{"a", "b", "of no list", "other"}[i%4])
			}
		})
	}
	all.Wait()
	if got := c.Value(); got != 3*goroutines*each {
		t.Errorf("counted %d", got)
	}
	var b metric.Buckets
	h[0].AddTo(&b)
	h[1].AddTo(&b)
	if got := b.Counts[3]; got != goroutines*each || b.Sum != goroutines*each*time.Millisecond {
		t.Errorf("observed %d, %v", got, b.Sum)
	}
	want := map[string]uint64{"a": 2 * each, "b": 2 * each, "other": 4 * each}
	if diff := cmp.Diff(want, s.Values()); diff != "" || s.Sum() != goroutines*each {
		t.Errorf("%d: %s", s.Sum(), diff)
	}
}

// TestNoMemory holds what makes counting cheap: it allocates nothing.
func TestNoMemory(t *testing.T) {
	var h metric.Histogram
	s := metric.NewSet("other", "a")
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Second); s.Inc("a"); s.Inc("b") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h metric.Histogram
	for b.Loop() {
		h.Observe(time.Millisecond)
	}
}
