package handle

import (
	"time"

	"github.com/maravilla-realtime/realtime/internal/metric"
)

// Stats is what a group does on this node.
type Stats struct {
	Held    bool          // this node holds the group
	Pending int           // events that wait for a handler, or are being handled
	Lag     uint64        // records of the log that have not been handled; 0 if the group is not held
	LagTime time.Duration // since the oldest of them came to this node

	Calls       metric.Buckets // of handlers, by how long they took
	Retries     uint64         // calls that failed and are repeated
	DeadLetters uint64
	Missed      map[string]uint64 // how often events were lost, by reason
}

// tally is the part of Stats that is counted.
type tally struct {
	calls                metric.Histogram
	retries, deadLetters metric.Counter
	missed               *metric.Set
}

func (c *tally) called(began time.Time) { c.calls.Observe(time.Since(began)) }

// Stats returns the present figures of each group, by name. That of the process is
// "$process".
func (gs *Groups) Stats() map[string]Stats {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	all := make(map[string]Stats, len(gs.named))
	for name, g := range gs.named {
		if g.PublicName() == "" {
			name = ownName
		}
		all[name] = g.stats()
	}
	return all
}

func (g *Group) stats() Stats {
	s := Stats{Retries: g.tally.retries.Value(), DeadLetters: g.tally.deadLetters.Value(), Missed: g.tally.missed.Values()}
	g.tally.calls.AddTo(&s.Calls)
	h := g.held()
	if h == nil {
		return s
	}
	s.Held, s.Pending = true, h.tracker.Pending()
	head, floor := g.node.Ring.Head(), h.tracker.Floor()
	if floor.Compare(head) >= 0 {
		return s
	}
	oldest, gone := g.node.Ring.At(floor.Next())
	if oldest == nil { // the history begins after it, or is of another epoch
		floor = gone
		oldest, _ = g.node.Ring.At(gone.Next())
	}
	if s.Lag = head.Seq - min(floor.Seq, head.Seq); oldest != nil {
		s.LagTime = time.Since(oldest.Came())
	}
	return s
}
