package presence

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"golang.org/x/sync/errgroup"
)

// Members are the sessions of a [Presence] as the host and connections change them: each
// call has a deadline, joins pass a gate, and errors are those of the API. The methods may
// be called concurrently.
type Members struct {
	Presence *Presence
	// Gate returns the gate for an event with the given depth.
	Gate   func(depth int) *conns.Gate
	Logger *slog.Logger
}

// Join begins a session, or changes its metadata: see [Presence.Join].
func (m *Members) Join(ctx context.Context, s Session) error {
	g := m.Gate(s.Depth)
	if !g.Enter() {
		return bounded.ErrClosed
	}
	defer g.Leave()
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	return bounded.Public(m.Presence.Join(ctx, s))
}

// Leave ends a session: see [Presence.Leave].
func (m *Members) Leave(ctx context.Context, k Key, d Departure) error {
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	return bounded.Public(m.Presence.Leave(ctx, k, d))
}

// leavesAtOnce bounds the concurrent calls of Leave for sessions that end together.
const leavesAtOnce = 16

// EndAll ends sessions of this node whose clients are gone, all of them after the same
// time. What fails is tried again by the node: see [Presence.Leave].
func (m *Members) EndAll(ctx context.Context, keys []Key, why Reason, in time.Duration) {
	var leaving errgroup.Group
	leaving.SetLimit(leavesAtOnce)
	for _, k := range keys {
		leaving.Go(func() error {
			if err := m.Leave(ctx, k, Departure{Why: why, In: in}); err != nil && !errors.Is(err, bounded.ErrClosed) {
				m.Logger.Error("realtime: a member cannot leave; trying again", "channel", k.Channel, "user", k.User, "error", err)
			}
			return nil
		})
	}
	_ = leaving.Wait() // nil
}

// Touch moves the lastSeen of a member: see [Presence.Touch].
func (m *Members) Touch(ctx context.Context, channel, user string) {
	if err := m.Presence.Touch(ctx, channel, user); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		m.Logger.Error("realtime: the lastSeen of a member cannot be moved", "channel", channel, "user", user, "error", err)
	}
}
