package presence

import (
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/metric"
)

// Stats is what a node does for presence.
type Stats struct {
	Members  int // who have sessions here
	Sessions int // here, those that are scheduled to leave included

	Joins, Updates, Leaves uint64 // events that this node caused
	Repeated               uint64 // writes that met another one, or whose outcome was unknown
	Sweeps                 uint64 // for sessions whose time is over
	Swept                  uint64 // sessions that were ended by them
	NodesGone              uint64 // other nodes that this one has given up
	Failures               uint64 // of what runs in the background, which tries again
}

// tally is the part of Stats that is counted.
type tally struct {
	joins, updates, leaves, again      metric.Counter
	sweeps, swept, nodesGone, failures metric.Counter
}

// changed notes the end of a change of a member that carries an event, or "".
func (c *tally) changed(event string, err error) {
	switch {
	case err != nil:
	case event == backend.PresenceJoin:
		c.joins.Inc()
	case event == backend.PresenceUpdate:
		c.updates.Inc()
	case event == backend.PresenceLeave:
		c.leaves.Inc()
	}
}

// Stats returns the present figures.
func (p *Presence) Stats() Stats {
	p.mu.Lock()
	members, sessions := len(p.local.members), 0
	for _, m := range p.local.members {
		sessions += len(m.sessions)
	}
	p.mu.Unlock()
	c := &p.tally
	return Stats{
		Members: members, Sessions: sessions, Joins: c.joins.Value(), Updates: c.updates.Value(), Leaves: c.leaves.Value(),
		Repeated: c.again.Value(), Sweeps: c.sweeps.Value(), Swept: c.swept.Value(), NodesGone: c.nodesGone.Value(),
		Failures: c.failures.Value(),
	}
}
