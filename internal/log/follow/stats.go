package follow

import (
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/metric"
)

// Stats is how a follower keeps up with its log.
type Stats struct {
	// Lag is how long the records took, from the node that made them to this one: of
	// several that come at once, the first. It compares the clocks of the two.
	Lag      metric.Buckets
	Failures uint64 // how often it had to begin again, or to read back what was missing
}

// tally is what is counted for Stats.
type tally struct {
	lag      metric.Histogram
	failures metric.Counter
}

// come notes new records.
func (c *tally) come(recs []*backend.Logged) {
	if at := recs[0].Event.UnixMilli; at != 0 { // else it is a record that no view shows
		c.lag.Observe(time.Since(time.UnixMilli(at)))
	}
}

// Stats returns the present figures. It may be called concurrently with all methods.
func (f *Follower) Stats() (s Stats) {
	f.tally.lag.AddTo(&s.Lag)
	s.Failures = f.tally.failures.Value()
	return s
}
