// Package metric counts and measures. Its values are cheap enough to be always on: an
// observation is a few atomic additions, and takes no lock and no memory. All methods
// may be called concurrently.
package metric

import (
	"slices"
	"sync/atomic"
	"time"
)

// Counter counts. The zero Counter is ready.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) {
	if On {
		c.n.Add(n)
	}
}

// Value returns the sum.
func (c *Counter) Value() uint64 { return c.n.Load() }

// Gauge is a number that goes up and down. The zero Gauge is ready.
type Gauge struct{ n atomic.Int64 }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) {
	if On {
		g.n.Add(n)
	}
}

// Value returns the present number.
func (g *Gauge) Value() int64 { return g.n.Load() }

// Set counts by a name from a closed list, so that nobody from outside can make the
// number of its counters grow.
type Set struct {
	names  []string // few, so that a search is faster than a map
	counts []Counter
}

// NewSet returns a set of counters with these names. Any other name is counted as rest.
func NewSet(rest string, names ...string) *Set {
	names = append([]string{rest}, slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == rest })...)
	return &Set{names: names, counts: make([]Counter, len(names))}
}

// Inc adds one to the counter of a name.
func (s *Set) Inc(name string) {
	if !On {
		return
	}
	s.counts[max(slices.Index(s.names, name), 0)].Inc() // 0, the rest, for names that it has not
}

// Values returns all counters, those that are zero included.
func (s *Set) Values() map[string]uint64 {
	values := make(map[string]uint64, len(s.names))
	for i, name := range s.names {
		values[name] = s.counts[i].Value()
	}
	return values
}

// Sum returns the sum of all counters.
func (s *Set) Sum() (n uint64) {
	for i := range s.counts {
		n += s.counts[i].Value()
	}
	return n
}

// bounds are the upper bounds of the buckets of all histograms: from what memory takes
// to the longest deadline of a call.
var bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second,
}

// Histogram has fixed buckets of durations. The zero Histogram is ready.
type Histogram struct {
	counts [len(bounds) + 1]atomic.Uint64 // the last one is of what exceeds all bounds
	sum    atomic.Int64                   // nanoseconds
}

// Observe adds a duration. A negative one, as clocks that differ yield, counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	if !On {
		return
	}
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Buckets is what a histogram has counted. The zero Buckets is that of a histogram
// without observations.
type Buckets struct {
	Counts [len(bounds) + 1]uint64
	Sum    time.Duration
}

// AddTo adds what the histogram has counted to b.
func (h *Histogram) AddTo(b *Buckets) {
	for i := range h.counts {
		b.Counts[i] += h.counts[i].Load()
	}
	b.Sum += time.Duration(h.sum.Load())
}

// Bounds returns the upper bounds of the buckets, each included in its bucket. There is
// one more bucket without a bound.
func Bounds() []time.Duration { return slices.Clone(bounds[:]) }

// Calls counts the calls of one function by their outcomes, and measures them.
type Calls struct {
	outcomes *Set
	time     Histogram
}

// NewCalls returns a Calls with these outcomes. Any other outcome is counted as rest.
func NewCalls(rest string, outcomes ...string) *Calls {
	return &Calls{outcomes: NewSet(rest, outcomes...)}
}

// Done notes the end of a call.
func (c *Calls) Done(began time.Time, outcome string) {
	if !On {
		return
	}
	c.outcomes.Inc(outcome)
	c.time.Observe(time.Since(began))
}

// AtOnce is Done of a call that takes less time than it takes to measure it.
func (c *Calls) AtOnce(outcome string) {
	if !On {
		return
	}
	c.outcomes.Inc(outcome)
	c.time.Observe(0)
}

// CallStats is what a Calls has counted.
type CallStats struct {
	Outcomes map[string]uint64
	Time     Buckets
}

// Stats returns what was counted so far.
func (c *Calls) Stats() CallStats {
	s := CallStats{Outcomes: c.outcomes.Values()}
	c.time.AddTo(&s.Time)
	return s
}
