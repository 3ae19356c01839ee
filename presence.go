package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/publish"
	"github.com/maravilla-realtime/realtime/internal/session/roster"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Presence records which users are in which channels. A member of a channel is a user,
// however many tabs, devices and servers keep it there: presence.join is sent for the
// first of these sessions, presence.leave after the last. It is a live roster and not
// durable.
//
// Its methods may be called concurrently. They may block as long as ctx allows, and
// for less than 5 s if ctx has no deadline. Errors: [ErrBadChannel], [ErrBadUser],
// [ErrBadClientID], [ErrBadOption], [ErrTooLarge], [ErrClosed], [ErrLoop],
// [ErrMaybeStored], [ErrTemporary], and those of ctx and of the backend. A Join or
// Leave that failed may have happened; to call it again is safe.
type Presence struct {
	rt      *Realtime
	inner   *presence.Presence
	members *presence.Members
	rosters *roster.Rosters
}

// Member is a user in a channel.
type Member struct {
	UserID   string
	Metadata json.RawMessage // nil if there is none
	LastSeen time.Time       // when it last did something in the channel; coarse (30 s) across nodes
}

type member struct {
	UserID   string          `json:"userId"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	LastSeen int64           `json:"lastSeen"` // milliseconds since the Unix epoch
}

// MarshalJSON encodes a member as clients see it, with lastSeen in milliseconds
// since the Unix epoch.
func (m Member) MarshalJSON() ([]byte, error) {
	return json.Marshal(member{m.UserID, m.Metadata, m.LastSeen.UnixMilli()})
}

// UnmarshalJSON is the inverse of [Member.MarshalJSON].
func (m *Member) UnmarshalJSON(data []byte) error {
	var w member
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*m = Member{w.UserID, w.Metadata, time.UnixMilli(w.LastSeen)}
	return nil
}

// Presence returns the presence of this Realtime.
func (rt *Realtime) Presence() *Presence { return &rt.presence }

// nodeLease is the time for which the members of a dead node stay.
const nodeLease = 30 * time.Second

func (p *Presence) init(rt *Realtime) {
	p.rt = rt
	p.inner = presence.New(rt.backend, presence.Options{
		Node: rt.node, NodeLease: nodeLease, Alone: rt.alone(), Logger: rt.log, Followed: rt.ring.Followed,
		Reap: func(ctx context.Context, isGone func(string) (bool, error), mine func(string) bool) error {
			return rt.growing.Reap(ctx, isGone, mine)
		},
	})
	p.members = &presence.Members{Presence: p.inner, Gate: rt.publisher.Gate, Logger: rt.log}
	p.rosters = roster.New(roster.Node{
		Presence: p.inner, Log: rt.backend, Ring: rt.ring, Uniform: rt.policy.See == nil, Time: bounded.CallTime,
		Running: rt.running, Go: rt.background.Go, // Close waits for connections first, which begin readings
	})
}

// Join makes a user present in a channel, with metadata that encodes as JSON of at
// most [Limits].Metadata bytes. If the metadata differs from the member's, a
// presence.update is sent. The join lasts for [PresenceOptions].Lease; joining again
// renews it. It counts as one session of the client that ctx or [FromClient] names,
// otherwise of this server. Only a Leave for the same client ends that session earlier.
func (p *Presence) Join(ctx context.Context, channel, userID string, metadata any, opts ...EventOption) error {
	s, err := p.serverSession(ctx, channel, userID, opts)
	if err != nil {
		return err
	}
	if metadata != nil {
		if s.Metadata, err = publish.Encode(metadata, p.rt.opts.Limits.Metadata); err != nil {
			return fault.Errorf("realtime: join: %w", err)
		}
	}
	s.TTL = p.rt.opts.Presence.Lease
	return p.members.Join(ctx, s)
}

// Leave ends at once the session that Join began for the same user and client. The
// member stays while other sessions keep it there. To leave without a session is not an
// error. Errors: [ErrBadChannel], [ErrBadUser], [ErrBadClientID], [ErrBadOption],
// [ErrClosed], [ErrLoop], [ErrMaybeStored], [ErrTemporary], and those of ctx and of the
// backend.
func (p *Presence) Leave(ctx context.Context, channel, userID string, opts ...EventOption) error {
	s, err := p.serverSession(ctx, channel, userID, opts)
	if err != nil {
		return err
	}
	return p.members.Leave(ctx, s.Key, presence.Departure{Why: presence.Left, Depth: s.Depth})
}

// Members lists the members of a channel, ordered by user id. Errors: [ErrBadChannel],
// [ErrClosed], [ErrTemporary], and those of ctx and of the backend.
func (p *Presence) Members(ctx context.Context, channel string) ([]Member, error) {
	if !wire.ValidChannel(channel) {
		return nil, badChannelError(channel)
	}
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	found, err := p.inner.Members(ctx, channel)
	if err != nil {
		return nil, bounded.Public(err)
	}
	members := make([]Member, len(found))
	for i, m := range found {
		members[i] = Member{m.User, m.Metadata, m.LastSeen}
	}
	return members, nil
}

// serverSession returns the session of a server-side join.
func (p *Presence) serverSession(ctx context.Context, channel, userID string, opts []EventOption) (s presence.Session, err error) {
	if !wire.ValidChannel(channel) {
		return s, badChannelError(channel)
	}
	if !wire.ValidName(userID) {
		return s, nameError(ErrBadUser, userID)
	}
	o, err := optionsOf(ctx, "presence", opts)
	if err != nil {
		return s, err
	}
	if len(o.given) > 0 {
		return s, fmt.Errorf("%w: %s means nothing to presence", ErrBadOption, o.given[0])
	}
	s.Channel, s.User, s.Source, s.Depth = channel, userID, wire.Tag(o.Client), o.depth
	if s.ID = "client." + s.Source; o.Client == "" {
		s.ID = "node." + p.rt.node
	}
	return s, nil
}

// Joiner is the part of a [Presence] that joins; [Leaver] and [MemberLister] are the
// others. A host's tests can implement those that its code needs.
type Joiner interface {
	Join(ctx context.Context, channel, userID string, metadata any, opts ...EventOption) error
}

// Leaver is the part of a [Presence] that leaves.
type Leaver interface {
	Leave(ctx context.Context, channel, userID string, opts ...EventOption) error
}

// MemberLister is the part of a [Presence] that lists who is there.
type MemberLister interface {
	Members(ctx context.Context, channel string) ([]Member, error)
}

var (
	_ Joiner       = (*Presence)(nil)
	_ Leaver       = (*Presence)(nil)
	_ MemberLister = (*Presence)(nil)
)
