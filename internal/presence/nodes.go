package presence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"golang.org/x/sync/errgroup"
)

// Each node has a record that it keeps writing again. The other nodes watch whether
// its revision changes, by their own clocks; no node compares clocks with another.
const (
	nodeKind  = "node"
	nodeGroup = "lease"
)

// What the record of a node says. Earlier releases write nodeLives and do not read it.
const (
	nodeLives byte = 1
	nodeEnded byte = 2 // in order; its sessions stay until the node is given up
)

// lateLook is the time after a node's death after which the others look for its
// sessions once more: a write of the dead node may have been on its way.
const lateLook = 3 * time.Minute

// A node writes its record, and looks at those of the others, six times in a lease.
// It is given up when its record has not changed for two thirds of the lease. So
// its sessions end within one lease after its death: up to a sixth of it passes
// before the first missing write, and up to a sixth before the others notice.
func (p *Presence) every() time.Duration   { return p.nodeLease / 6 }
func (p *Presence) silence() time.Duration { return p.nodeLease * 2 / 3 }

// peers holds what a node knows of itself as a peer, and of the other nodes.
type peers struct {
	incarnation int              // how often this node was given up by the others
	revision    backend.Revision // of the node's own record; 0: none yet

	looks []time.Time // when to look for sessions that no node owns
	trust time.Time   // until then the store may be older than the nodes' own knowledge
	lost  int         // how often the store was put back: what was recorded before may not be

	watched map[string]sighting // of the goroutine that watches
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
	p.peers.looks = []time.Time{time.Now().Add(2 * p.nodeLease)} // for nodes that died before this one began
	return p.renew(ctx)
}

// Run keeps the node alive, and ends sessions whose time is over, until ctx ends.
// It logs errors of the store, and tries again.
func (p *Presence) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { p.repeat(ctx, p.wake, p.sweep) })
	if p.alone {
		return
	}
	loop := func(wake <-chan struct{}, do func(context.Context) error) {
		every := p.every()
		running.Go(func() {
			p.repeat(ctx, wake, func(ctx context.Context) (time.Duration, error) { return every, do(ctx) })
		})
	}
	loop(nil, p.renew)
	loop(nil, p.watch)
	loop(p.moved, p.settle)
	running.Go(func() { p.repeat(ctx, nil, p.recordFollowed) })
}

// retryAfter is the wait of a loop after an error.
const retryAfter = time.Second

func (p *Presence) repeat(ctx context.Context, wake <-chan struct{}, do func(context.Context) (time.Duration, error)) {
	for ctx.Err() == nil {
		wait, err := do(ctx)
		if errors.Is(err, backend.ErrClosed) {
			return
		}
		if err != nil && ctx.Err() == nil {
			p.tally.failures.Inc()
			p.log.Error("realtime: presence cannot be kept; trying again", "error", err)
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
	p.tally.sweeps.Inc()
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
	s := p.local.session(k)
	if s == nil || s.end.IsZero() || s.end.After(time.Now()) {
		p.mu.Unlock()
		return nil // it joined again, or left
	}
	d := s.departure()
	p.mu.Unlock()
	// Another node may own the session by now, if a server joins for a client.
	err = p.remove(ctx, k.member(), p.guess(k.member()), d, func(s *sessionRecord) bool { return s.id == k.ID && p.mine(s.node) })
	if err != nil && !errors.Is(err, errRecord) { // of a record that cannot be read it is never known
		return fmt.Errorf("end of a session in %q: %w", k.Channel, err)
	}
	p.mu.Lock()
	p.local.remove(k)
	p.mu.Unlock()
	p.tally.swept.Inc()
	return nil
}

// renew writes the node's record again. If the others have given the node up, it
// continues under another name, with all of its sessions.
func (p *Presence) renew(ctx context.Context) error {
	p.mu.Lock()
	name, last := p.node, p.peers.revision
	p.mu.Unlock()
	rev, err := p.beat(ctx, name, last)
	if errors.Is(err, errGivenUp) {
		// A name must have a record before it is used. Otherwise the others would
		// take the sessions recorded under it for those of a dead node.
		p.peers.incarnation++
		name = fmt.Sprintf("%s/%d", p.name, p.peers.incarnation)
		rev, err = p.beat(ctx, name, 0)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if name != p.node {
		p.distrust(time.Now())
		signal(p.moved)
	}
	p.node, p.peers.revision = name, rev
	return nil
}

// distrust has this node end no sessions of others for a lease, in which those record
// them again: either the store was put back, or this node was given up. A node whose
// record is gone cannot tell which, since the store answers sooner than the log, perhaps:
// see [Presence.Lost]. It needs p.mu.
func (p *Presence) distrust(now time.Time) { p.peers.trust = now.Add(p.nodeLease) }

// errGivenUp: the others have deleted the record of this node.
var errGivenUp = errors.New("presence: the node was given up")

// beat writes the record of a name of this node, which had the revision last.
func (p *Presence) beat(ctx context.Context, name string, last backend.Revision) (backend.Revision, error) {
	rev, err := p.store.Put(ctx, backend.Write{Key: nodeKey(name), Value: []byte{nodeLives}, If: last})
	if !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored) {
		return rev, err
	}
	// Only this node writes this record: if it is there, it is our last write.
	it, getErr := p.store.Get(ctx, nodeKey(name))
	switch {
	case getErr != nil:
		return 0, getErr
	case it.Revision == last:
		return 0, err // not written, so far
	case it.Revision == 0:
		return 0, errGivenUp
	}
	return it.Revision, nil
}

// End tells the others that this node has ended in order, so that nobody waits for its
// answer. Its sessions stay until the others give the node up, since its clients are on
// their way to other nodes. Run must have returned, and nothing may be delivered by this
// node any longer.
func (p *Presence) End(ctx context.Context) error {
	if p.alone {
		return nil
	}
	p.mu.Lock()
	key, last := nodeKey(p.node), p.peers.revision
	p.mu.Unlock()
	_, err := p.store.Put(ctx, backend.Write{Key: key, Value: []byte{nodeEnded}, If: last})
	if !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored) {
		return err
	}
	it, err := p.store.Get(ctx, key) // the last beat has perhaps come late
	if err != nil || it.Revision == 0 || hasEnded(it) {
		return err
	}
	_, err = p.store.Put(ctx, backend.Write{Key: key, Value: []byte{nodeEnded}, If: it.Revision})
	return err
}

// hasEnded reports whether a node's record says that it has ended.
func hasEnded(it backend.Item) bool { return bytes.Equal(it.Value, []byte{nodeEnded}) }

// mine reports whether a node in a record is this one, now or earlier.
func (p *Presence) mine(node string) bool {
	return node == p.name || strings.HasPrefix(node, p.name+"/")
}

// Lost must be called when the store was put back to an earlier state. The node then
// records its live sessions again. After a lease, in which all nodes do the same, it
// looks for recorded sessions that live nowhere. If the record of a session that
// lives here names another node, either the session has moved to that node, or the
// record is from before it moved here and that node is dead. The node decides which
// when dead nodes have been given up.
func (p *Presence) Lost() {
	if p.alone {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.peers.lost++
	p.distrust(now)
	p.peers.looks = append(p.peers.looks, p.peers.trust, now.Add(lateLook))
	for s := range p.local.all {
		s.node, s.rival = "", rival{}
	}
	p.followed.again = true
	signal(p.moved)
}

// watch gives up nodes that have been silent, and ends the sessions of those that are
// gone.
func (p *Presence) watch(ctx context.Context) error {
	now := time.Now()
	var nodes []backend.Item
	for it, err := range p.store.List(ctx, nodeKind, nodeGroup) {
		if err != nil {
			return err
		}
		nodes = append(nodes, it)
	}
	own := p.nodeName()
	p.mu.Lock()
	if !slices.ContainsFunc(nodes, func(it backend.Item) bool { return it.Name == own }) {
		p.distrust(now)
	}
	trusted := !now.Before(p.peers.trust)
	p.mu.Unlock()
	watched := make(map[string]sighting)
	for _, it := range nodes {
		s := p.peers.watched[it.Name]
		switch {
		case s.revision != it.Revision: // none yet, if it was not known
			s = sighting{it.Revision, now}
		case trusted && now.Sub(s.since) > p.silence() && it.Name != own:
			err := p.store.Delete(ctx, it.Key, it.Revision, nil)
			switch {
			case err == nil:
				p.tally.nodesGone.Inc()
				continue
			case errors.Is(err, backend.ErrConflict):
				s = sighting{it.Revision, now} // the node lives, or another one has given it up
			case !errors.Is(err, backend.ErrMaybeStored): // then the next look tells
				return err
			}
		}
		watched[it.Name] = s
	}
	var looks []time.Time
	for name := range p.peers.watched {
		if _, there := watched[name]; !there { // given up, here or by another node
			looks = append(looks, now, now.Add(lateLook))
		}
	}
	p.peers.watched = watched
	due := func(look time.Time) bool { return !look.After(now) }
	p.mu.Lock()
	p.peers.looks = append(p.peers.looks, looks...)
	reap := trusted && slices.ContainsFunc(p.peers.looks, due)
	p.mu.Unlock()
	if !reap {
		return nil
	}
	if err := p.reap(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	p.peers.looks = slices.DeleteFunc(p.peers.looks, due)
	p.mu.Unlock()
	return nil
}

// reap ends the sessions of nodes that are gone, and the sessions recorded for this
// node that do not live here.
func (p *Presence) reap(ctx context.Context) error {
	g := &graves{store: p.store, gone: make(map[string]bool)}
	for name := range p.peers.watched {
		g.gone[name] = false
	}
	for it, err := range p.store.List(ctx, memberKind, "") {
		if err != nil {
			return err
		}
		m, err := decodeMember(it.Value)
		if err != nil {
			p.malformed.Report(p.log, it.Key, err)
			continue
		}
		for _, s := range m.sessions {
			if p.mine(s.node) {
				continue
			}
			if _, known := g.gone[s.node]; !known {
				if _, err := g.has(ctx, s.node); err != nil {
					return err
				}
			}
		}
		if !slices.ContainsFunc(m.sessions, func(s sessionRecord) bool {
			return g.gone[s.node] || p.mine(s.node) && !p.lives(it.Group, it.Name, s.id)
		}) {
			continue
		}
		if err := p.reapMember(ctx, it.Group, it.Name, g); err != nil && !errors.Is(err, errRecord) {
			return err
		}
	}
	has := func(node string) (bool, error) { return g.has(ctx, node) }
	return errors.Join(p.reapFollowed(ctx, has), p.reapOthers(ctx, has, p.mine))
}

// graves tells which nodes are gone. A node has a record before it has anything else, so
// without one it is gone.
type graves struct {
	store backend.Store
	gone  map[string]bool // what has been found out; of nodes that live, it is the answer
}

// has reports whether a node is gone, as the store has it now. It must be asked when what
// the node has left was read, and that must be changed only if nobody else has: then it is
// right even where the store is put back meanwhile, to when the node had its record. Such
// a node lives on, and does not learn that it was ever given up.
func (g *graves) has(ctx context.Context, node string) (bool, error) {
	if gone, known := g.gone[node]; known && !gone {
		return false, nil
	}
	rec, err := g.store.Get(ctx, nodeKey(node))
	if err != nil {
		return false, err
	}
	g.gone[node] = rec.Revision == 0
	return g.gone[node], nil
}

// reapMember ends the sessions of a member that no node owns.
func (p *Presence) reapMember(ctx context.Context, channel, user string, g *graves) error {
	id := memberID{channel, user}
	unlock, err := p.locks.Lock(ctx, id.lockKey())
	if err != nil {
		return err
	}
	defer unlock()
	var unknown error
	err = p.remove(ctx, id, nil, Departure{Why: Node}, func(s *sessionRecord) bool {
		if p.mine(s.node) {
			return !p.lives(channel, user, s.id)
		}
		gone, err := g.has(ctx, s.node)
		unknown = errors.Join(unknown, err)
		return gone
	})
	return errors.Join(err, unknown)
}

// lives reports whether a session lives here.
func (p *Presence) lives(channel, user, id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.local.session(Key{channel, user, id}) != nil
}
