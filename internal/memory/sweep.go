package memory

import (
	"container/heap"
	"context"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// Sweep implements [backend.Presence]. It ends one session a step, so that a
// node with many of them holds up nobody. An error leaves the rest to the next
// sweep.
func (p *presence) Sweep(ctx context.Context, name string, ttl time.Duration) (time.Duration, error) {
	err := p.step(ctx, func(now time.Time) error {
		p.node(name).lease = now.Add(ttl)
		return nil
	})
	next, found := ttl/3, true
	for found && err == nil {
		err = p.step(ctx, func(now time.Time) error {
			s, end, how := p.nextToEnd()
			if found = s != nil && !end.After(now); found {
				return p.endSession(s, how, now)
			}
			if s != nil {
				next = min(next, end.Sub(now))
			}
			return nil
		})
	}
	return next, err
}

// nextToEnd returns a session that ends before all others, or with them: when,
// and how. There is none if no session has an end.
func (p *presence) nextToEnd() (next *session, end time.Time, how backend.Departure) {
	if len(p.ends) > 0 {
		next = p.ends[0]
		end, how = next.end, next.departure()
	}
	for _, n := range p.nodes {
		if n.lease.IsZero() || next != nil && !n.lease.Before(end) {
			continue
		}
		for s := range n.sessions {
			next, end, how = s, n.lease, backend.Departure{Why: backend.ReasonNode}
			break
		}
	}
	return next, end, how
}

// departure says how s ends at s.end.
func (s *session) departure() backend.Departure {
	if s.end.Equal(s.leaves) {
		return s.scheduled
	}
	return backend.Departure{Why: backend.ReasonTimeout}
}

// deadlines is a heap of the sessions that end at some time by themselves, the
// next one first. Use set; the exported methods are for container/heap.
type deadlines []*session

// set gives s the end at, or none if it is zero.
func (d *deadlines) set(s *session, at time.Time) {
	s.end = at
	switch queued := s.index >= 0; {
	case queued && at.IsZero():
		heap.Remove(d, s.index)
	case queued:
		heap.Fix(d, s.index)
	case !at.IsZero():
		heap.Push(d, s)
	}
}

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].end.Before(d[j].end) }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push implements [heap.Interface].
func (d *deadlines) Push(x any) {
	s := x.(*session)
	s.index = len(*d)
	*d = append(*d, s)
}

// Pop implements [heap.Interface].
func (d *deadlines) Pop() any {
	old := *d
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	s.index = -1
	return s
}
