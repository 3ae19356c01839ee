package memory

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// groups implements [backend.Groups].
type groups struct {
	log *eventLog

	mu     sync.Mutex
	groups map[string]*group // one for each name that was ever held; hosts have few
}

type group struct {
	holder string
	until  time.Time
	floor  backend.Position
	done   map[uint64]struct{} // behind floor
	failed map[uint64]int      // behind floor
}

func newGroups(l *eventLog) *groups {
	return &groups{log: l, groups: map[string]*group{}}
}

// ClaimGroup implements [backend.Groups].
func (gs *groups) ClaimGroup(ctx context.Context, name, node string, ttl time.Duration) (backend.Progress, error) {
	if err := gs.log.alive(ctx); err != nil {
		return backend.Progress{}, err
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.groups[name]
	if g == nil {
		g = &group{done: map[uint64]struct{}{}, failed: map[uint64]int{}}
		gs.groups[name] = g
	}
	now := time.Now()
	if g.holder != node && now.Before(g.until) {
		return backend.Progress{}, backend.ErrHeld
	}
	g.holder, g.until = node, now.Add(ttl)
	return backend.Progress{Floor: g.floor, Done: slices.Collect(maps.Keys(g.done)), Failed: maps.Clone(g.failed)}, nil
}

// CommitGroup implements [backend.Groups]. It forgets nothing behind the floor: there
// is no more of it than the log retains.
func (gs *groups) CommitGroup(ctx context.Context, name, node string, p backend.Progress) error {
	if err := gs.log.alive(ctx); err != nil {
		return err
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.groups[name]
	if g == nil || g.holder != node || !time.Now().Before(g.until) {
		return backend.ErrHeld
	}
	if p.Floor.Epoch < g.floor.Epoch {
		return nil
	}
	g.advance(p.Floor)
	for _, seq := range p.Done {
		if seq > g.floor.Seq {
			g.done[seq] = struct{}{}
			delete(g.failed, seq)
		}
	}
	for seq, times := range p.Failed {
		if _, done := g.done[seq]; !done && seq > g.floor.Seq {
			g.failed[seq] = times
		}
	}
	return nil
}

// advance moves the floor, and forgets what it passes.
func (g *group) advance(floor backend.Position) {
	if floor.Compare(g.floor) <= 0 {
		return
	}
	passed := func(seq uint64) bool { return floor.Epoch != g.floor.Epoch || seq <= floor.Seq }
	maps.DeleteFunc(g.done, func(seq uint64, _ struct{}) bool { return passed(seq) })
	maps.DeleteFunc(g.failed, func(seq uint64, _ int) bool { return passed(seq) })
	g.floor = floor
}

// ReleaseGroup implements [backend.Groups].
func (gs *groups) ReleaseGroup(ctx context.Context, name, node string) error {
	if err := gs.log.alive(ctx); err != nil {
		return err
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g := gs.groups[name]; g != nil && g.holder == node {
		g.until = time.Time{}
	}
	return nil
}
