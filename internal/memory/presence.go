package memory

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// presence implements [backend.Presence].
//
// Its lock is held over an append, so that a change and its event are one step;
// the log's lock is taken inside it, never the other way round. It is not held
// while an append waits for a follower: the follower's sink may be asking for
// the members. See step.
type presence struct {
	log *eventLog

	mu       sync.Mutex
	channels map[string]map[string]*member // by channel, then user
	sessions map[backend.SessionKey]*session
	nodes    map[string]*node
	ends     deadlines // of the sessions that have one
}

type member struct {
	metadata []byte
	lastSeen time.Time
	sessions int
}

// A session ends when the first of its expiry, its scheduled leave and its
// node's lease is over.
type session struct {
	key    backend.SessionKey
	source string
	member *member
	node   *node

	end   time.Time // the earlier of the two below; zero: none
	index int       // in deadlines, or -1

	expires   time.Time // zero: not by itself
	leaves    time.Time // zero: no leave is scheduled
	scheduled backend.Departure
}

// A node that has never swept has no lease, and its sessions do not end for
// that. One whose lease ran out has none until it sweeps again.
type node struct {
	lease    time.Time
	sessions map[*session]struct{}
}

func newPresence(l *eventLog) *presence {
	return &presence{
		log:      l,
		channels: map[string]map[string]*member{},
		sessions: map[backend.SessionKey]*session{},
		nodes:    map[string]*node{},
	}
}

// step runs f with the lock held. Where f finds the log full, it has changed
// nothing: step waits for room without the lock and runs f again.
func (p *presence) step(ctx context.Context, f func(now time.Time) error) error {
	for {
		err := p.log.alive(ctx)
		if err != nil {
			return err
		}
		p.mu.Lock()
		err = f(time.Now())
		p.mu.Unlock()
		if err != errFull {
			return err
		}
		if err := p.log.waitForRoom(ctx); err != nil {
			return err
		}
	}
}

// Join implements [backend.Presence].
func (p *presence) Join(ctx context.Context, s backend.Session) error {
	return p.step(ctx, func(now time.Time) error {
		m := p.channels[s.Channel][s.User]
		if err := p.announce(m, s, now); err != nil {
			return err
		}
		if m == nil {
			m = p.addMember(s.Channel, s.User)
		}
		if !bytes.Equal(m.metadata, s.Metadata) {
			m.metadata = bytes.Clone(s.Metadata) // it outlives the call
		}
		m.lastSeen = now
		p.renew(m, s, now)
		return nil
	})
}

// announce appends what the joining of s changes for the member m, nil if there
// is none yet.
func (p *presence) announce(m *member, s backend.Session, now time.Time) error {
	switch {
	case m == nil:
		return p.append(backend.JoinEvent(s, now), s.Depth)
	case !bytes.Equal(m.metadata, s.Metadata):
		return p.append(backend.UpdateEvent(s, now), s.Depth)
	}
	return nil
}

// append gives the event no id: nothing that fails here is stored.
func (p *presence) append(e backend.Event, depth int) error {
	_, err := p.log.tryAppend(backend.Entry{Event: e, Depth: depth})
	return err
}

func (p *presence) addMember(channel, user string) *member {
	members := p.channels[channel]
	if members == nil {
		members = map[string]*member{}
		p.channels[channel] = members
	}
	m := &member{}
	members[user] = m
	return m
}

// renew adds the session s of member m, or gives it a new life.
func (p *presence) renew(m *member, s backend.Session, now time.Time) {
	it := p.sessions[s.SessionKey]
	if it == nil {
		it = &session{key: s.SessionKey, member: m, index: -1}
		p.sessions[s.SessionKey] = it
		m.sessions++
	} else {
		delete(it.node.sessions, it)
	}
	it.source = s.Source
	it.node = p.node(s.Node)
	it.node.sessions[it] = struct{}{}
	it.expires, it.leaves = time.Time{}, time.Time{}
	if s.TTL > 0 {
		it.expires = now.Add(s.TTL)
	}
	p.ends.set(it, it.expires)
}

func (p *presence) node(name string) *node {
	n := p.nodes[name]
	if n == nil {
		n = &node{sessions: map[*session]struct{}{}}
		p.nodes[name] = n
	}
	return n
}

// Leave implements [backend.Presence].
func (p *presence) Leave(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
	return p.step(ctx, func(now time.Time) error {
		s := p.sessions[key]
		if s == nil {
			return nil
		}
		if d.In <= 0 {
			return p.endSession(s, d, now)
		}
		if at := now.Add(d.In); s.leaves.IsZero() || at.Before(s.leaves) {
			s.leaves, s.scheduled = at, d
			p.ends.set(s, earlier(s.expires, at))
		}
		return nil
	})
}

// earlier returns the earlier of two deadlines, of which zero means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// endSession takes s away, and with it the member whose last one it is.
func (p *presence) endSession(s *session, d backend.Departure, now time.Time) error {
	if s.member.sessions == 1 {
		last := backend.Session{SessionKey: s.key, Metadata: s.member.metadata, Source: s.source}
		if err := p.append(backend.LeaveEvent(last, d.Why, now), d.Depth); err != nil {
			return err
		}
		p.removeMember(s.key.Channel, s.key.User)
	}
	s.member.sessions--
	p.ends.set(s, time.Time{})
	delete(s.node.sessions, s)
	delete(p.sessions, s.key)
	return nil
}

func (p *presence) removeMember(channel, user string) {
	members := p.channels[channel]
	delete(members, user)
	if len(members) == 0 {
		delete(p.channels, channel)
	}
}

// Touch implements [backend.Presence].
func (p *presence) Touch(ctx context.Context, channel, user string) error {
	if err := p.log.alive(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.channels[channel][user]; m != nil {
		m.lastSeen = time.Now()
	}
	return nil
}

// Members implements [backend.Presence].
func (p *presence) Members(ctx context.Context, channel string) ([]backend.Member, error) {
	if err := p.log.alive(ctx); err != nil {
		return nil, err
	}
	members := p.copyMembers(channel)
	slices.SortFunc(members, func(a, b backend.Member) int { return strings.Compare(a.User, b.User) })
	return members, nil
}

func (p *presence) copyMembers(channel string) []backend.Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	members := make([]backend.Member, 0, len(p.channels[channel]))
	for user, m := range p.channels[channel] {
		members = append(members, backend.Member{User: user, Metadata: m.metadata, LastSeen: m.lastSeen})
	}
	return members
}

// PresentChannels implements [backend.Presence].
func (p *presence) PresentChannels(ctx context.Context) ([]string, error) {
	if err := p.log.alive(ctx); err != nil {
		return nil, err
	}
	p.mu.Lock()
	channels := slices.Collect(maps.Keys(p.channels))
	p.mu.Unlock()
	slices.Sort(channels)
	return channels, nil
}
