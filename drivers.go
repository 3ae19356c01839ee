package realtime

import (
	"context"
	"time"

	"github.com/maravilla-realtime/realtime/internal/driver"
	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/renstream"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/socket"
)

// newDrivers makes what drives connections.
func (rt *Realtime) newDrivers() {
	rt.driver = driver.Node{
		Ring: rt.ring, Conns: rt.conns, Shards: rt.shards, Policy: rt.judge, Refused: rt.refusals, Logger: rt.log,
		Hijack: driver.Hijack(rt.opts.Hijack), Heartbeat: rt.opts.Heartbeat, WriteTimeout: rt.opts.WriteTimeout,
	}
	if spans, ok := rt.opts.Tracer.(DeliveryTracer); ok {
		rt.driver.Traced = func(kind string, e *ring.Entry, written time.Time) {
			spans.Deliver(TraceContext(e.Trace), RenEvent(e.Event), ClientDelivery{Kind: kind, Came: e.Came(), Written: written})
		}
	}
	rt.ren = renstream.New(renstream.Node{Node: rt.driver, Life: rt.opts.StreamLife})
	limits := rt.opts.Limits
	rt.sockets = socket.New(socket.Node{
		Node: rt.driver, Rights: rt.rights, Past: rt.past, Growing: rt.growing, Members: members{&rt.presence}, Publisher: rt.publisher,
		Limits: socket.Limits{
			Message: limits.Message, Metadata: limits.Metadata, Page: limits.Page, Channels: limits.Channels,
			Rate: limits.Rate, Burst: limits.Burst, UserRate: limits.UserRate,
		},
		CloseGrace: rt.opts.Presence.CloseGrace, DropGrace: rt.opts.Presence.DropGrace, Running: rt.running,
	})
}

// members implements [socket.Members].
type members struct{ p *Presence }

func (m members) Join(ctx context.Context, s presence.Session) error { return m.p.join(ctx, s) }

func (m members) Leave(ctx context.Context, k presence.Key, d presence.Departure) error {
	return m.p.leave(ctx, k, d)
}

func (m members) EndAll(ctx context.Context, keys []presence.Key, why presence.Reason, in time.Duration) {
	m.p.endAll(ctx, keys, why, in)
}

func (m members) Leaving(channel, user, source string) []presence.Key {
	return m.p.engine.Leaving(channel, user, source)
}

func (m members) Touch(ctx context.Context, channel, user string) { m.p.touch(ctx, channel, user) }

func (m members) Roster(ctx context.Context, channel string) (*session.Roster, error) {
	r, err := m.p.rosters.Read(ctx, channel)
	return r, engine.Public(err)
}
