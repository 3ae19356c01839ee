// Package presence records which users are in which channels, in the store and the
// log of a backend, in the same way for all engines.
//
// A member is a user in a channel. Sessions keep a member there: tabs,
// devices, servers. (What a connection follows is a session of another kind: see
// internal/session.) All sessions of a member are in one record of the store, and a
// change of that record carries the event that it causes. So joins and leaves of a
// member alternate strictly in the log, even if nodes die half-way.
//
// The time of a session is measured by the node that owns it, with its monotonic
// clock: no wall clocks are compared. A node keeps a record of its own alive; the
// others end its sessions when that record has not changed for the node lease.
package presence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/malformed"
	"github.com/maravilla-realtime/realtime/internal/publish/keylock"
)

// Key names a session.
type Key struct {
	Channel, User string
	ID            string // unique per channel and user
}

// Session is one tab, device or server that keeps a user in a channel.
type Session struct {
	Key
	Metadata json.RawMessage // compact JSON, or nil
	Source   string          // of the events that it causes
	Depth    int             // of the events that joining causes
	TTL      time.Duration   // how long it lasts after a join; 0: as long as its node
}

// Departure is how a session ends.
type Departure struct {
	Why   Reason
	In    time.Duration // from now; 0: at once
	Depth int           // of the event it causes
}

// Member is a user in a channel.
type Member struct {
	User     string
	Metadata json.RawMessage
	LastSeen time.Time
}

// Reason says why a member left.
type Reason string

// The reasons of a leave.
const (
	Left    Reason = "left"    // asked to
	Closed  Reason = "closed"  // its last connection closed in an orderly way
	Timeout Reason = "timeout" // its last connection broke, or a server did not join it again
	Node    Reason = "node"    // the node it was connected to is gone
)

// memberKind is the kind of the records of members.
const memberKind = "member"

// seenEvery is the resolution of a member's LastSeen on other nodes.
const seenEvery = 30 * time.Second

// Presence is the presence of all nodes, seen from one of them. Its methods may be
// called concurrently, and may block as long as ctx. After an error a change may
// have been made; it may be repeated.
type Presence struct {
	store     backend.Store
	name      string        // of this node
	alone     bool          // no other node uses the store
	nodeLease time.Duration // how long the sessions of a dead node stay
	locks     keylock.Locks // by member: this node makes one change of a member at a time
	wake      chan struct{} // holds one: a session may end sooner than sweep expects
	moved     chan struct{} // holds one: settle has something to do

	log       *slog.Logger
	malformed malformed.Records

	reapOthers   func(ctx context.Context, isGone func(node string) (bool, error), mine func(node string) bool) error
	followedHere func() []string
	followed     followed
	tally        tally

	mu     sync.Mutex
	node   string // the name under which the sessions of this node are recorded
	local  local
	peers  peers
	doubts map[memberID]*doubt
}

// Options are how a node takes part.
type Options struct {
	Node      string        // unique among all nodes, ever
	NodeLease time.Duration // how long a node may be silent before the others end its sessions
	Alone     bool          // there are no other nodes

	// Logger is told of errors of the store, and of records that cannot be read. Nil:
	// nobody is.
	Logger *slog.Logger

	// Followed lists the channels that are followed on this node, for the others. nil:
	// none are.
	Followed func() []string

	// Reap is called when nodes are gone, and once more when no write of theirs can be on
	// its way: to end what they have left in the store beside members. mine reports whether
	// a node is this one, now or earlier. Nil: there is nothing.
	Reap func(ctx context.Context, isGone func(node string) (bool, error), mine func(node string) bool) error
}

// New returns the presence of one node. Call [Presence.Start] before anybody joins,
// and [Presence.Run] from then on.
func New(store backend.Store, o Options) *Presence {
	if o.Followed == nil {
		o.Followed = func() []string { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Reap == nil {
		o.Reap = func(context.Context, func(string) (bool, error), func(string) bool) error { return nil }
	}
	return &Presence{
		log: o.Logger, reapOthers: o.Reap, store: store, name: o.Node, alone: o.Alone, nodeLease: o.NodeLease, node: o.Node, followedHere: o.Followed,
		wake: make(chan struct{}, 1), moved: make(chan struct{}, 1),
		local: local{members: make(map[memberID]*localMember)}, doubts: make(map[memberID]*doubt),
	}
}

// Join adds a session, or renews it: it lasts for s.TTL from now, and a scheduled
// Leave is cancelled. The member's LastSeen becomes now and its metadata s.Metadata.
//
// It causes presence.join if the member had no session. Otherwise it causes
// presence.update if the metadata changed.
func (p *Presence) Join(ctx context.Context, s Session) error {
	unlock, err := p.lock(ctx, s.Key)
	if err != nil {
		return err
	}
	defer unlock()
	p.mu.Lock()
	node, lost := p.node, p.peers.lost
	p.mu.Unlock()
	now := time.Now()
	id := s.member()
	wrote, err := p.change(ctx, id, p.guess(id), func(m *member) *change {
		event := ""
		switch {
		case len(m.sessions) == 0:
			event = backend.PresenceJoin
		case !bytes.Equal(m.metadata, s.Metadata):
			event = backend.PresenceUpdate
		case p.alone && m.has(s.ID, node, s.Source):
			return nil // else the write makes earlier changes conflict that are on their way, from any node
		}
		m.put(s.ID, node, s.Source)
		m.metadata, m.lastSeen = s.Metadata, now.UnixMilli()
		return &change{event: event, source: s.Source, depth: s.Depth}
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	if lost != p.peers.lost {
		node = ""
	}
	p.local.join(s, node, now) // if it is not recorded under the node's name: see settle
	p.local.wrote(id, wrote)
	p.mu.Unlock()
	signal(p.wake)
	return nil
}

// signal wakes a loop of Run.
func signal(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Leave ends a session after d.In (0: at once), unless it joins again before. With its
// last session the member leaves, which causes presence.leave with d.Why. An
// unknown session is not an error. A second Leave may bring a scheduled one
// forward, but never postpones it.
func (p *Presence) Leave(ctx context.Context, k Key, d Departure) error {
	if d.In > 0 {
		p.mu.Lock()
		p.local.leave(k, d, time.Now())
		p.mu.Unlock()
		signal(p.wake)
		return nil
	}
	unlock, err := p.lock(ctx, k)
	if err == nil {
		defer unlock()
		err = p.remove(ctx, k.member(), p.guess(k.member()), d, func(s *sessionRecord) bool { return s.id == k.ID })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.local.remove(k)
		return nil
	}
	// The session may have ended, and its client has perhaps gone, so it must end, even
	// if there was no time to begin: this node ends it soon, unless it joins again before.
	d.In = retryAfter
	p.local.leave(k, d, time.Now())
	signal(p.wake)
	return err
}

// remove removes sessions from the record of a member, and the record with the last
// one. For guess see change.
func (p *Presence) remove(ctx context.Context, id memberID, guess *known, d Departure, which func(*sessionRecord) bool) error {
	return p.update(ctx, id, guess, func(m *member) *change {
		removed := m.remove(which)
		if removed == nil {
			return nil
		}
		c := &change{source: removed.source, depth: d.Depth, why: d.Why}
		if len(m.sessions) == 0 {
			c.event = backend.PresenceLeave
		}
		return c
	})
}

// Touch moves the LastSeen of a member to now; for other nodes at most once in 30 s.
// It does nothing for a user who is not there.
func (p *Presence) Touch(ctx context.Context, channel, user string) error {
	id := memberID{channel, user}
	now := time.Now()
	p.mu.Lock()
	store := p.local.touch(id, now) && !p.alone
	p.mu.Unlock()
	if !store {
		return nil
	}
	unlock, err := p.locks.Lock(ctx, id.lockKey())
	if err != nil {
		return err
	}
	defer unlock()
	err = p.update(ctx, id, p.guess(id), func(m *member) *change {
		if len(m.sessions) == 0 || m.lastSeen >= now.UnixMilli() {
			return nil
		}
		m.lastSeen = now.UnixMilli()
		return &change{}
	})
	if errors.Is(err, errRecord) {
		return nil // it was reported
	}
	return err
}

// Members lists the members of a channel, ordered by user. Each member reflects every
// event logged before the call, and no event that is not in the log when the call
// returns. Different members may be read at different moments. A member is left out whose
// record this release cannot read. The caller must not change their metadata.
func (p *Presence) Members(ctx context.Context, channel string) ([]Member, error) {
	members := []Member{}
	for it, err := range p.store.List(ctx, memberKind, channel) {
		if err != nil {
			return nil, err
		}
		m, err := decodeMember(it.Value)
		if err != nil {
			p.malformed.Report(p.log, it.Key, err)
			continue
		}
		members = append(members, Member{User: it.Name, Metadata: m.metadata, LastSeen: time.UnixMilli(m.lastSeen)})
	}
	p.mu.Lock()
	for i := range members {
		if m := p.local.members[memberID{channel, members[i].User}]; m != nil && m.seen.After(members[i].LastSeen) {
			members[i].LastSeen = m.seen
		}
	}
	p.mu.Unlock()
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.User, b.User) })
	return members, nil
}

// Leaving returns a member's sessions with the given source that are on this node and
// scheduled to leave.
func (p *Presence) Leaving(channel, user, source string) (keys []Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.local.members[memberID{channel, user}]; m != nil {
		for _, s := range m.sessions {
			if s.Source == source && !s.leaves.IsZero() {
				keys = append(keys, s.Key)
			}
		}
	}
	return keys
}

// LeavingOf is Leaving for all channels and sources of a user.
func (p *Presence) LeavingOf(user string) (keys []Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.local.all {
		if s.User == user && !s.leaves.IsZero() {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// Name returns the name under which the other nodes know this one. It changes if they
// give the node up and it comes back.
func (p *Presence) Name() string { return p.nodeName() }

// Nodes lists the nodes that have neither ended nor been given up. The node itself is
// among them, unless it is alone.
func (p *Presence) Nodes(ctx context.Context) (names []string, err error) {
	if p.alone {
		return nil, nil
	}
	for it, err := range p.store.List(ctx, nodeKind, nodeGroup) {
		if err != nil {
			return nil, err
		}
		if !hasEnded(it) {
			names = append(names, it.Name)
		}
	}
	return names, nil
}

// Sessions returns the number of sessions on this node, including those that are
// scheduled to leave.
func (p *Presence) Sessions() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.local.all {
		n++
	}
	return n
}

// Channels lists the channels that have members, ordered.
func (p *Presence) Channels(ctx context.Context) ([]string, error) {
	found := make(map[string]struct{})
	var channels []string
	for it, err := range p.store.List(ctx, memberKind, "") {
		if err != nil {
			return nil, err
		}
		if _, ok := found[it.Group]; !ok {
			found[it.Group] = struct{}{}
			channels = append(channels, it.Group)
		}
	}
	slices.Sort(channels)
	return channels, nil
}

func (p *Presence) lock(ctx context.Context, k Key) (unlock func(), err error) {
	return p.locks.Lock(ctx, k.member().lockKey())
}

func (p *Presence) nodeName() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.node
}
