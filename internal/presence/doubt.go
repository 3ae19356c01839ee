package presence

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"golang.org/x/sync/errgroup"
)

// A change whose outcome is unknown may still take effect, long after the node has
// made other changes to the member. It could leave a session that no node owns, or
// remove one that lives. So the node compares the record with its own live sessions:
// soon, and again when no request can still be on its way.
type doubt struct {
	since  time.Time // of the newest such change
	looked bool
}

// maxDoubts bounds the list of members in doubt. Beyond it, all members count as in
// doubt.
const maxDoubts = 1 << 14

func (p *Presence) doubt(id memberID) {
	if p.alone {
		return // the outcome in the memory of this process is always known
	}
	p.mu.Lock()
	full := p.doubts[id] == nil && len(p.doubts) >= maxDoubts
	if full {
		clear(p.doubts)
	} else {
		p.doubts[id] = &doubt{since: time.Now()}
	}
	p.mu.Unlock()
	if full {
		p.Lost()
	}
}

// settle looks at the members that are in doubt, and at those whose sessions here are not
// recorded under the present name of the node.
func (p *Presence) settle(ctx context.Context) error {
	p.mu.Lock()
	doubts := maps.Clone(p.doubts)
	look := make(map[memberID]struct{})
	for s := range p.local.all {
		if p.decided(s.rival) || s.rival.node == "" && s.node != p.node {
			look[s.member()] = struct{}{}
		}
	}
	p.mu.Unlock()
	for id, d := range doubts {
		if !d.looked || time.Since(d.since) >= lateLook {
			look[id] = struct{}{}
		}
	}
	var looking errgroup.Group
	looking.SetLimit(endsAtOnce)
	for id := range look {
		d := doubts[id]
		last := d != nil && time.Since(d.since) >= lateLook
		looking.Go(func() error {
			if err := p.reconcile(ctx, id); err != nil {
				return err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if d != nil && p.doubts[id] == d { // else there is a newer one
				if d.looked = true; last {
					delete(p.doubts, id)
				}
			}
			return nil
		})
	}
	return looking.Wait()
}

// reconcile makes the record of a member agree with the sessions that live on this
// node, under its present name. If the member has left, because the others had given
// this node up, it joins again.
//
// A session that is recorded for a node that is gone is this node's: a Join of that node,
// from before it moved here, has come late. If that node lives, either the session has
// moved there, or the store was put back to before it moved here, which this node will be
// told: see [Presence.Lost]. It is given up a lease later.
func (p *Presence) reconcile(ctx context.Context, id memberID) error {
	unlock, err := p.locks.Lock(ctx, id.lockKey())
	if err != nil {
		return err
	}
	defer unlock()
	p.mu.Lock()
	lost := p.peers.lost
	p.mu.Unlock()
	var node string
	var elsewhere []Key
	var open map[Key]rival // the sessions of which it is not known whose they are
	var unknown error      // what the store did not answer about
	g := &graves{store: p.store, gone: make(map[string]bool)}
	err = p.update(ctx, id, nil, func(m *member) *change {
		var here residents
		here, node = p.here(id)
		elsewhere, open, unknown = nil, make(map[Key]rival), nil
		before := slices.Clone(m.sessions)
		c := &change{why: Timeout}
		if removed := m.remove(func(s *sessionRecord) bool {
			return p.mine(s.node) && !slices.ContainsFunc(here.sessions, func(h resident) bool { return h.ID == s.id })
		}); removed != nil {
			c.source = removed.source
		}
		for _, s := range here.sessions {
			owner := m.owner(s.ID)
			if owner == node || s.ending {
				continue
			}
			if s.lost && owner != "" && !p.mine(owner) { // see Lost
				open[s.Key] = s.rival
				continue
			}
			switch free, err := p.free(ctx, cmp.Or(owner, s.rival.node), g); {
			case err != nil:
				unknown = errors.Join(unknown, err)
			case free:
				if len(before) == 0 {
					m.metadata, c.source, c.depth = here.metadata, s.Source, s.Depth
				}
				m.put(s.ID, node, s.Source)
				m.lastSeen = max(m.lastSeen, time.Now().UnixMilli())
			case owner == "", p.decided(s.rival): // it moved there, and has ended, perhaps
				elsewhere = append(elsewhere, s.Key)
			case s.rival.node == "":
				open[s.Key] = rival{owner, time.Now()}
			default:
				open[s.Key] = rival{owner, s.rival.since}
			}
		}
		switch {
		case slices.Equal(before, m.sessions):
			return nil
		case len(before) == 0:
			c.event, c.why = backend.PresenceJoin, ""
		case len(m.sessions) == 0:
			c.event = backend.PresenceLeave
		}
		return c
	})
	if errors.Is(err, errRecord) {
		return nil // settle looks again, in case somebody mends the record
	}
	if err = errors.Join(err, unknown); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if lost == p.peers.lost { // else settle looks again
		p.reconciled(id, node, elsewhere, open)
	}
	return nil
}

// decided reports whether a session that was found recorded for another node has moved
// there: else this node has been told by now that the store was put back.
func (p *Presence) decided(r rival) bool {
	return r.node != "" && time.Since(r.since) >= p.nodeLease
}

// free reports whether a session of an owner may be recorded as this node's: none other
// has it, or one that is gone.
func (p *Presence) free(ctx context.Context, owner string, g *graves) (bool, error) {
	if owner == "" || p.mine(owner) {
		return true, nil
	}
	return g.has(ctx, owner)
}

// reconciled notes that the sessions of a member that live here are recorded as those of
// node, except the open ones, and that others live elsewhere. It needs p.mu.
func (p *Presence) reconciled(id memberID, node string, elsewhere []Key, open map[Key]rival) {
	for _, k := range elsewhere {
		p.local.remove(k)
	}
	if m := p.local.members[id]; m != nil {
		for _, s := range m.sessions {
			r, isOpen := open[s.Key]
			if s.rival = r; !isOpen {
				s.node = node
			}
		}
	}
}

// residents are the sessions of a member that live here.
type residents struct {
	sessions []resident      // in any order
	metadata json.RawMessage // of the newest Join among them and those that have ended
}

// resident is a session that lives here.
type resident struct {
	Session
	rival  rival
	ending bool // its end is due
	lost   bool // the store was put back, perhaps to a state from before it joined here
}

// here returns the sessions of a member that live here, and the present name of the
// node.
func (p *Presence) here(id memberID) (here residents, node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.local.members[id]; m != nil {
		soon := time.Now().Add(retryAfter)
		open := soon.Before(p.peers.trust.Add(2 * p.nodeLease))
		here.metadata = m.metadata
		for _, s := range m.sessions {
			here.sessions = append(here.sessions, resident{s.Session, s.rival, !s.end.IsZero() && !s.end.After(soon), open && s.node == ""})
		}
	}
	return here, p.node
}
