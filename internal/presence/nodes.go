package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"golang.org/x/sync/errgroup"
)

// A node keeps a record of its own alive by writing it again. Nobody compares its
// clock with another's: the others see whether the revision changes.
const (
	nodeKind  = "node"
	nodeGroup = "lease"
)

// lateLook is how long after a death its sessions are looked for once more: a write
// of the dead node may still have been on its way.
const lateLook = 3 * time.Minute

// A node is given up after two thirds of the lease in which its record did not change.
// It writes its record, and looks at those of the others, six times in a lease: so
// its sessions end within the lease, the time until the silence begins and until it
// is noticed included.
func (p *Presence) every() time.Duration   { return p.lease / 6 }
func (p *Presence) silence() time.Duration { return p.lease * 2 / 3 }

// peers is what a node knows of itself and the others.
type peers struct {
	incarnation int              // how often this node was given up by the others
	revision    backend.Revision // of the node's own record; 0: none yet

	// of the goroutine that watches
	watched map[string]sighting
	looks   []time.Time // when to look for sessions of nodes that are gone
}

type sighting struct {
	revision backend.Revision
	since    time.Time // when the revision was first seen
}

func nodeKey(name string) backend.Key {
	return backend.Key{Kind: nodeKind, Group: nodeGroup, Name: name}
}

// Start makes the node known to the others. It must return nil before anybody joins.
func (p *Presence) Start(ctx context.Context) error {
	if p.alone {
		return nil
	}
	p.peers.looks = []time.Time{time.Now().Add(2 * p.lease)} // for nodes that died before this one began
	return p.renew(ctx)
}

// Run keeps the node alive, and ends sessions whose time is over, until ctx ends.
// Errors of the store are logged, and what failed is tried again.
func (p *Presence) Run(ctx context.Context, log *slog.Logger) {
	loops := []func(context.Context) (time.Duration, error){p.sweep}
	if !p.alone {
		every := p.every()
		loops = append(loops,
			func(ctx context.Context) (time.Duration, error) { return every, p.renew(ctx) },
			func(ctx context.Context) (time.Duration, error) { return every, p.watch(ctx) })
	}
	var running sync.WaitGroup
	defer running.Wait()
	for i, do := range loops {
		running.Go(func() { p.repeat(ctx, log, i == 0, do) })
	}
}

// retryAfter is how long after an error a loop tries again.
const retryAfter = time.Second

func (p *Presence) repeat(ctx context.Context, log *slog.Logger, early bool, do func(context.Context) (time.Duration, error)) {
	var wake <-chan struct{}
	if early {
		wake = p.wake
	}
	for ctx.Err() == nil {
		wait, err := do(ctx)
		if errors.Is(err, backend.ErrClosed) {
			return
		}
		if err != nil && ctx.Err() == nil {
			log.Error("realtime: presence cannot be kept; trying again", "error", err)
			wait = min(wait, retryAfter)
		}
		select {
		case <-time.After(wait):
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// endsAtOnce bounds how many sessions are ended at the same time.
const endsAtOnce = 16

// sweep ends the sessions of this node whose time is over, and returns how long to
// wait for the next one.
func (p *Presence) sweep(ctx context.Context) (time.Duration, error) {
	for {
		p.mu.Lock()
		due, wait := p.local.due(time.Now(), endsAtOnce, time.Hour)
		p.mu.Unlock()
		if len(due) == 0 {
			return wait, nil
		}
		var ending errgroup.Group
		for _, k := range due {
			ending.Go(func() error { return p.endDue(ctx, k) })
		}
		if err := ending.Wait(); err != nil {
			return retryAfter, err
		}
	}
}

// endDue ends a session of this node if its time is still over.
func (p *Presence) endDue(ctx context.Context, k Key) error {
	unlock, err := p.lock(ctx, k)
	if err != nil {
		return err
	}
	defer unlock()
	p.mu.Lock()
	s, node := p.local.session(k), p.node
	if s == nil || s.end.IsZero() || s.end.After(time.Now()) {
		p.mu.Unlock()
		return nil // it joined again, or left
	}
	d := s.departure()
	p.mu.Unlock()
	// Another node may own the session by now, if a server joins for a client.
	err = p.remove(ctx, k.Channel, k.User, d, func(s *sessionRecord) bool { return s.id == k.ID && s.node == node })
	if err != nil {
		return fmt.Errorf("end of a session in %q: %w", k.Channel, err)
	}
	p.mu.Lock()
	p.local.remove(k)
	p.mu.Unlock()
	return nil
}

// renew writes the node's record again. If the others have given the node up, it
// continues under another name, with all of its sessions.
func (p *Presence) renew(ctx context.Context) error {
	p.mu.Lock()
	name, last := p.node, p.peers.revision
	p.mu.Unlock()
	rev, err := p.store.Put(ctx, backend.Write{Key: nodeKey(name), Value: []byte{1}, If: last})
	if errors.Is(err, backend.ErrConflict) || errors.Is(err, backend.ErrUnknown) {
		// Nobody else writes this record: if it is there, it is what we wrote last.
		it, getErr := p.store.Get(ctx, nodeKey(name))
		switch {
		case getErr != nil:
			return getErr
		case it.Revision == 0 && last != 0:
			p.rename()
			return p.renew(ctx)
		case it.Revision != 0:
			rev, err = it.Revision, nil
		}
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.peers.revision = rev
	p.mu.Unlock()
	return p.restore(ctx)
}

// rename gives the node a name that nobody has given up.
func (p *Presence) rename() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers.incarnation++
	p.node, p.peers.revision = fmt.Sprintf("%s/%d", p.name, p.peers.incarnation), 0
}

// restore records the sessions of this node under its present name, if they are not.
func (p *Presence) restore(ctx context.Context) error {
	p.mu.Lock()
	node := p.node
	var stale []Session
	if p.local.node != node {
		for s := range p.local.all {
			if s.node != node {
				stale = append(stale, s.Session)
			}
		}
	}
	p.mu.Unlock()
	for _, s := range stale {
		if err := p.move(ctx, s, node); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local.node = node // what joined meanwhile has the present name
	return nil
}

// move records a session of this node under its present name. Its member has
// perhaps left by now, since the others have given the earlier name up: then it joins again.
func (p *Presence) move(ctx context.Context, s Session, node string) error {
	unlock, err := p.lock(ctx, s.Key)
	if err != nil {
		return err
	}
	defer unlock()
	p.mu.Lock()
	here := p.local.session(s.Key)
	if here == nil || here.node == node {
		p.mu.Unlock()
		return nil
	}
	earlier := here.node
	p.mu.Unlock()
	elsewhere := false
	err = p.change(ctx, s.Channel, s.User, func(m *member) *change {
		owner := m.owner(s.ID)
		if elsewhere = owner != "" && owner != earlier && owner != node; elsewhere || owner == node {
			return nil
		}
		c := &change{source: s.Source, depth: s.Depth}
		if len(m.sessions) == 0 {
			c.event, m.metadata = backend.PresenceJoin, s.Metadata
		}
		m.put(s.ID, node, s.Source)
		m.lastSeen = max(m.lastSeen, time.Now().UnixMilli())
		return c
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if elsewhere { // it joined at another node since
		p.local.remove(s.Key)
	} else if here := p.local.session(s.Key); here != nil {
		here.node = node
	}
	return nil
}

// watch gives up nodes that have been silent, and ends the sessions of those that are
// gone.
func (p *Presence) watch(ctx context.Context) error {
	now := time.Now()
	watched := make(map[string]sighting)
	for it, err := range p.store.List(ctx, nodeKind, nodeGroup) {
		if err != nil {
			return err
		}
		s, known := p.peers.watched[it.Name]
		switch {
		case !known || s.revision != it.Revision:
			s = sighting{it.Revision, now}
		case now.Sub(s.since) > p.silence() && it.Name != p.nodeName():
			err := p.store.Delete(ctx, it.Key, it.Revision, nil)
			if err == nil {
				continue
			}
			if !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrUnknown) {
				return err
			}
			s = sighting{it.Revision, now} // it lives, or another node was faster
		}
		watched[it.Name] = s
	}
	for name := range p.peers.watched {
		if _, there := watched[name]; !there { // given up, here or by another node
			p.peers.looks = append(p.peers.looks, now, now.Add(lateLook))
		}
	}
	p.peers.watched = watched
	due := func(look time.Time) bool { return !look.After(now) }
	if !slices.ContainsFunc(p.peers.looks, due) {
		return nil
	}
	if err := p.reap(ctx); err != nil {
		return err
	}
	p.peers.looks = slices.DeleteFunc(p.peers.looks, due)
	return nil
}

// reap ends the sessions of nodes that are gone.
func (p *Presence) reap(ctx context.Context) error {
	gone := make(map[string]bool)
	for name := range p.peers.watched {
		gone[name] = false
	}
	for it, err := range p.store.List(ctx, memberKind, "") {
		if err != nil {
			return err
		}
		m, err := decodeMember(it.Value)
		if err != nil {
			return err
		}
		for _, s := range m.sessions {
			if _, known := gone[s.node]; known {
				continue
			}
			// A node has a record before it has sessions, so without one it is gone:
			// its name never comes back.
			rec, err := p.store.Get(ctx, nodeKey(s.node))
			if err != nil {
				return err
			}
			gone[s.node] = rec.Revision == 0
		}
		if !slices.ContainsFunc(m.sessions, func(s sessionRecord) bool { return gone[s.node] }) {
			continue
		}
		if err := p.reapMember(ctx, it.Group, it.Name, gone); err != nil {
			return err
		}
	}
	return nil
}

func (p *Presence) reapMember(ctx context.Context, channel, user string, gone map[string]bool) error {
	unlock, err := p.locks.Lock(ctx, memberID{channel, user}.lockKey())
	if err != nil {
		return err
	}
	defer unlock()
	return p.remove(ctx, channel, user, Departure{Why: Node}, func(s *sessionRecord) bool { return gone[s.node] })
}
