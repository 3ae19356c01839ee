package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
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
// [ErrUnknown] and [ErrTemporary]. A Join or Leave that failed has perhaps happened; calling it
// again is safe.
type Presence interface {
	// Join makes a user present in a channel, with metadata that encodes as JSON
	// of at most [Limits].Metadata bytes and is opaque here; metadata that differs
	// from what the member has is sent as presence.update. It lasts for
	// [Options].Lease; joining again renews it. It counts as one session of the
	// client that ctx or [FromClient] names, else of this server, and ends only
	// with that session's Leave.
	Join(ctx context.Context, channel, userID string, metadata any, opts ...EventOption) error

	// Leave ends, at once, what Join began for the same user and client. The
	// member stays while other sessions keep it there.
	Leave(ctx context.Context, channel, userID string, opts ...EventOption) error

	// Members lists the members of a channel, ordered by user id.
	Members(ctx context.Context, channel string) ([]Member, error)
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
func (rt *Realtime) Presence() Presence { return &rt.presence }

// presence implements Presence over the backend.
type presence struct {
	rt   *Realtime
	kick chan struct{} // wakes sweep: something may end sooner than it knows

	waiting waiting
	rosters rosters

	mu    sync.Mutex
	owed  map[backend.SessionKey]owed // leaves that the backend did not take
	owing chan struct{}               // holds one when there are any
}

func (p *presence) init(rt *Realtime) {
	p.rt, p.kick, p.owing = rt, make(chan struct{}, 1), make(chan struct{}, 1)
}

func (p *presence) Join(ctx context.Context, channel, userID string, metadata any, opts ...EventOption) error {
	s, err := p.lease(ctx, channel, userID, opts)
	if err != nil {
		return err
	}
	if metadata != nil {
		if s.Metadata, err = encode(metadata, p.rt.opts.Limits.Metadata); err != nil {
			return fmt.Errorf("realtime: join: %w", err)
		}
	}
	s.TTL = p.rt.opts.Lease
	return p.join(ctx, s)
}

func (p *presence) Leave(ctx context.Context, channel, userID string, opts ...EventOption) error {
	s, err := p.lease(ctx, channel, userID, opts)
	if err != nil {
		return err
	}
	return p.leave(ctx, s.SessionKey, backend.Departure{Why: backend.ReasonLeft, Depth: s.Depth})
}

func (p *presence) Members(ctx context.Context, channel string) ([]Member, error) {
	if badChannel(channel) {
		return nil, ErrBadChannel
	}
	found, err := p.rt.backend.Members(ctx, channel)
	if err != nil {
		return nil, publicError(err)
	}
	members := make([]Member, len(found))
	for i, m := range found {
		members[i] = Member{m.User, m.Metadata, m.LastSeen}
	}
	return members, nil
}

// lease returns the session that a server-side join is.
func (p *presence) lease(ctx context.Context, channel, userID string, opts []EventOption) (s backend.Session, err error) {
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
	s.Channel, s.User, s.Node, s.Source, s.Depth = channel, userID, p.rt.node, wire.Tag(a.client), a.depth
	if s.ID = "client." + s.Source; a.client == "" {
		s.ID = "node." + p.rt.node
	}
	return s, nil
}

func (p *presence) join(ctx context.Context, s backend.Session) error {
	g := p.rt.gate(s.Depth)
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	err := p.rt.backend.Join(ctx, s)
	if s.TTL > 0 {
		p.wake()
	}
	return publicError(err)
}

func (p *presence) leave(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
	err := p.rt.backend.Leave(ctx, key, d)
	if d.In > 0 {
		p.wake()
	}
	return publicError(err)
}

// leaveSurely is leave for sessions that nobody will ask about again: what fails
// is tried again.
func (p *presence) leaveSurely(ctx context.Context, key backend.SessionKey, why backend.Reason, in time.Duration) {
	err := p.leave(ctx, key, backend.Departure{Why: why, In: in})
	if err == nil || errors.Is(err, ErrClosed) {
		return
	}
	p.rt.log.Error("realtime: leave failed; trying again", "channel", key.Channel, "error", err)
	p.owe(key, owed{why, time.Now().Add(in)})
}

// owed is how a session has to end that the backend did not end.
type owed struct {
	why backend.Reason
	at  time.Time // not before
}

// maxOwed bounds what a backend that is gone for long can make a node remember.
const maxOwed = 1 << 16

// owe remembers a session that has to end.
func (p *presence) owe(key backend.SessionKey, how owed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, again := p.owed[key]; !again && len(p.owed) >= maxOwed {
		p.rt.log.Error("realtime: too many sessions wait for the backend to end them; a member stays until this node ends",
			"channel", key.Channel, "user", key.User)
		return
	}
	if p.owed == nil {
		p.owed = make(map[backend.SessionKey]owed)
	}
	p.owed[key] = how
	select {
	case p.owing <- struct{}{}:
	default:
	}
}

// leavesAtOnce bounds how many calls of Leave are made at the same time for what
// has ended together.
const leavesAtOnce = 16

// endAll ends sessions that nobody will ask about again, at once.
func (p *presence) endAll(ctx context.Context, keys []backend.SessionKey, why backend.Reason) {
	var leaving errgroup.Group
	leaving.SetLimit(leavesAtOnce)
	for _, key := range keys {
		leaving.Go(func() error {
			p.leaveSurely(ctx, key, why, 0)
			return nil
		})
	}
	_ = leaving.Wait() // nil
}

// settle tries again what is owed, until ctx ends.
func (p *presence) settle(ctx context.Context) {
	const least, most = time.Second, 10 * time.Second
	for wait := least; ; wait = min(2*wait, most) {
		select {
		case <-p.owing:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(jitter(wait)):
		case <-ctx.Done():
			return
		}
		if p.settleOnce(ctx) {
			wait = least / 2
		}
	}
}

// settleOnce tries each that is owed once, and reports whether none is left.
func (p *presence) settleOnce(ctx context.Context) bool {
	p.mu.Lock()
	all := p.owed
	p.owed = nil
	p.mu.Unlock()
	var leaving errgroup.Group
	leaving.SetLimit(leavesAtOnce)
	for key, how := range all {
		leaving.Go(func() error {
			err := p.leave(ctx, key, backend.Departure{Why: how.why, In: max(0, time.Until(how.at))})
			if err == nil || errors.Is(err, ErrClosed) {
				return nil
			}
			p.owe(key, how)
			return err
		})
	}
	err := leaving.Wait()
	if err != nil && ctx.Err() == nil {
		p.rt.log.Error("realtime: some leaves failed once more; trying again", "error", err)
	}
	return err == nil
}

func (p *presence) touch(ctx context.Context, channel, user string) {
	if err := p.rt.backend.Touch(ctx, channel, user); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		p.rt.log.Error("realtime: touch", "channel", channel, "error", err)
	}
}

func (p *presence) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// nodeLease is how long the members of a node that died stay.
const nodeLease = 30 * time.Second

// sweep keeps this node's lease, and ends sessions whose time is over.
func (p *presence) sweep(ctx context.Context) {
	for {
		p.waiting.forget(time.Now())
		next, err := p.sweepOnce(ctx)
		if errors.Is(err, backend.ErrClosed) {
			return // follow has said so
		}
		if err != nil && ctx.Err() == nil {
			p.rt.log.Error("realtime: presence cannot be swept; trying again", "error", err)
			next = time.Second
		}
		select {
		case <-time.After(next):
		case <-p.kick:
		case <-ctx.Done():
			return
		}
	}
}

// sweepTime is how long a sweep may take. It leaves the lease time for three.
const sweepTime = nodeLease / 4

func (p *presence) sweepOnce(ctx context.Context) (next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	return p.rt.backend.Sweep(ctx, p.rt.node, nodeLease)
}
