package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"golang.org/x/sync/errgroup"
)

// Presence is who is where. A member of a channel is a user, however many tabs,
// devices and servers keep it there: presence.join is sent for the first of
// them, presence.leave for the last. It is a live roster, nothing durable.
//
// Its methods may be called concurrently, and return within 5 s if ctx has no
// deadline. Beside those of the backend and of ctx their errors are
// [ErrBadChannel], [ErrBadUser], [ErrBadClientID], [ErrTooLarge], [ErrClosed],
// [ErrMaybeStored] and [ErrTemporary]. A Join or Leave that failed has perhaps happened; calling it
// again is safe.
type Presence struct {
	rt      *Realtime
	engine  *presence.Presence
	rosters rosters
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

// nodeLease is how long the members of a node that died stay.
const nodeLease = 30 * time.Second

// init makes the node known to the others, before anybody joins.
func (p *Presence) init(ctx context.Context, rt *Realtime) error {
	p.rt = rt
	p.engine = presence.New(rt.backend, presence.Options{
		Node: rt.node, Lease: nodeLease, Alone: rt.alone(), Followed: rt.ring.Followed,
	})
	return p.engine.Start(ctx)
}

// Join makes a user present in a channel, with metadata that encodes as JSON of at
// most [Limits].Metadata bytes and is opaque here; metadata that differs from what
// the member has is sent as presence.update. It lasts for [PresenceOptions].Lease; joining
// again renews it. It counts as one session of the client that ctx or [FromClient]
// names, else of this server, and ends only with that session's Leave.
func (p *Presence) Join(ctx context.Context, channel, userID string, metadata any, opts ...EventOption) error {
	s, err := p.lease(ctx, channel, userID, opts)
	if err != nil {
		return err
	}
	if metadata != nil {
		if s.Metadata, err = encode(metadata, p.rt.opts.Limits.Metadata); err != nil {
			return fmt.Errorf("realtime: join: %w", err)
		}
	}
	s.TTL = p.rt.opts.Presence.Lease
	return p.join(ctx, s)
}

// Leave ends, at once, what Join began for the same user and client. The member
// stays while other sessions keep it there.
func (p *Presence) Leave(ctx context.Context, channel, userID string, opts ...EventOption) error {
	s, err := p.lease(ctx, channel, userID, opts)
	if err != nil {
		return err
	}
	return p.leave(ctx, s.Key, presence.Departure{Why: presence.Left, Depth: s.Depth})
}

// Members lists the members of a channel, ordered by user id.
func (p *Presence) Members(ctx context.Context, channel string) ([]Member, error) {
	if badChannel(channel) {
		return nil, ErrBadChannel
	}
	ctx, cancel := within(ctx, callTime)
	defer cancel()
	found, err := p.engine.Members(ctx, channel)
	if err != nil {
		return nil, publicError(err)
	}
	members := make([]Member, len(found))
	for i, m := range found {
		members[i] = Member{m.User, m.Metadata, m.LastSeen}
	}
	return members, nil
}

// within returns ctx with a deadline, if it has none.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// lease returns the session that a server-side join is.
func (p *Presence) lease(ctx context.Context, channel, userID string, opts []EventOption) (s presence.Session, err error) {
	if badChannel(channel) {
		return s, ErrBadChannel
	}
	if badName(userID) {
		return s, ErrBadUser
	}
	a, err := attribute(ctx, opts)
	if err != nil {
		return s, err
	}
	if len(a.given) > 0 {
		return s, fmt.Errorf("%w: %s means nothing to presence", ErrBadOption, a.given[0])
	}
	s.Channel, s.User, s.Source, s.Depth = channel, userID, wire.Tag(a.client), a.depth
	if s.ID = "client." + s.Source; a.client == "" {
		s.ID = "node." + p.rt.node
	}
	return s, nil
}

func (p *Presence) join(ctx context.Context, s presence.Session) error {
	g := p.rt.gate(s.Depth)
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	ctx, cancel := within(ctx, callTime)
	defer cancel()
	return publicError(p.engine.Join(ctx, s))
}

func (p *Presence) leave(ctx context.Context, k presence.Key, d presence.Departure) error {
	ctx, cancel := within(ctx, callTime)
	defer cancel()
	return publicError(p.engine.Leave(ctx, k, d))
}

// leaveSurely is leave for sessions of this node that nobody will ask about again:
// what fails is tried again.
func (p *Presence) leaveSurely(ctx context.Context, k presence.Key, why presence.Reason, in time.Duration) {
	if in <= 0 {
		err := p.leave(ctx, k, presence.Departure{Why: why})
		if err == nil || errors.Is(err, ErrClosed) {
			return
		}
		p.rt.log.Error("realtime: leave failed; trying again", "channel", k.Channel, "error", err)
		in = 1
	}
	_ = p.leave(ctx, k, presence.Departure{Why: why, In: in}) // a later leave is nothing but remembered
}

// leavesAtOnce bounds how many calls of Leave are made at the same time for what
// has ended together.
const leavesAtOnce = 16

// endAll ends sessions of this node that nobody will ask about again, all of them in
// the same time from now.
func (p *Presence) endAll(ctx context.Context, keys []presence.Key, why presence.Reason, in time.Duration) {
	var leaving errgroup.Group
	leaving.SetLimit(leavesAtOnce)
	for _, k := range keys {
		leaving.Go(func() error {
			p.leaveSurely(ctx, k, why, in)
			return nil
		})
	}
	_ = leaving.Wait() // nil
}

func (p *Presence) touch(ctx context.Context, channel, user string) {
	if err := p.engine.Touch(ctx, channel, user); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		p.rt.log.Error("realtime: touch", "channel", channel, "error", err)
	}
}
