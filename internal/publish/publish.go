// Package publish is the way of a node's events into the log: what they carry beside
// themselves, the gates through which they go until the node ends, and how far it has read
// back what it has appended.
package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/live"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/metric"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Origin is what an event is attributed to.
type Origin struct {
	User   string
	Client string // its id, of which readers get the tag
	ID     string // of the event: see [backend.Entry]
	Depth  int    // how many handlers in a row led to the event
	Trace  backend.Trace
}

// Entry returns an event as it is appended, of now.
func (o *Origin) Entry(ev backend.Event) backend.Entry { return o.entry(ev, time.Now()) }

func (o *Origin) entry(ev backend.Event, at time.Time) backend.Entry {
	payload := backend.Payload{Event: o.stamp(ev, at), Depth: o.Depth, Trace: o.Trace}
	return backend.Entry{ID: o.ID, Data: payload.Encode()}
}

// stamp adds who caused an event, and when.
func (o *Origin) stamp(ev backend.Event, at time.Time) backend.Event {
	ev.User, ev.Source, ev.UnixMilli = o.User, wire.Tag(o.Client), at.UnixMilli()
	return ev
}

// Message returns the event of a message.
func Message(channel string, data json.RawMessage) backend.Event {
	return backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: channel, Data: data}
}

// Tracer makes spans. Either function may be nil.
type Tracer struct {
	// Publish begins the span of an event that is being published, and returns what the
	// event carries of it.
	Publish func(context.Context, backend.Event) (context.Context, backend.Trace, func(error))
	// Append begins the span of the append to the log, within that.
	Append func(context.Context, backend.Event) func(error)
}

// Publisher appends what a node publishes: all events but those of presence, which a
// backend appends together with a change of its store. Its methods may be called
// concurrently. After its gates are closed they return [backend.ErrClosed].
type Publisher struct {
	log    backend.Log
	ring   *ring.Ring
	live   *live.Sender
	tracer Tracer

	byHost     conns.Gate // for events of the host and of clients
	byHandlers conns.Gate // for events of handlers
	accepted   mark       // the newest event appended by this node

	calls     *metric.Calls
	ephemeral *metric.Set
}

// New returns a Publisher to a log, which the node reads into the ring. Messages that are
// live only go to the sender.
func New(log backend.Log, history *ring.Ring, sender *live.Sender, tracer Tracer) *Publisher {
	return &Publisher{
		log: log, ring: history, live: sender, tracer: tracer,
		calls:     metric.NewCalls("error", "ok", "maybe_stored", "timeout", "canceled", "too_large", "closed"),
		ephemeral: metric.NewSet("full", "ok", "too_large", "closed"),
	}
}

// Append appends an event, and returns its place. The errors are the backend's.
func (p *Publisher) Append(ctx context.Context, ev backend.Event, from Origin) (pos backend.Position, err error) {
	if begin := p.tracer.Publish; begin != nil {
		var end func(error)
		ctx, from.Trace, end = begin(ctx, ev)
		defer func() { end(err) }()
	}
	g := p.Gate(from.Depth)
	began := time.Now()
	if !g.Enter() {
		p.calls.Done(began, "closed")
		return pos, backend.ErrClosed
	}
	defer g.Leave()
	pos, err = p.append(ctx, ev, &from, began)
	p.calls.Done(began, bounded.Outcome(err))
	if err == nil {
		p.accepted.raise(pos)
	}
	return pos, err
}

// append appends an event of a time within a span of its own.
func (p *Publisher) append(ctx context.Context, ev backend.Event, from *Origin, at time.Time) (pos backend.Position, err error) {
	if begin := p.tracer.Append; begin != nil {
		end := begin(ctx, ev)
		defer func() { end(err) }()
	}
	return p.log.Append(ctx, from.entry(ev, at))
}

// AppendControl appends an entry of the library's own. Rights end, and other nodes are
// answered, until the last connection is told to go: so it goes through either gate.
func (p *Publisher) AppendControl(ctx context.Context, e backend.Entry) error {
	gate := &p.byHost
	if !gate.Enter() {
		if gate = &p.byHandlers; !gate.Enter() {
			return backend.ErrClosed
		}
	}
	defer gate.Leave()
	_, err := p.log.Append(ctx, e)
	return err
}

// Gate returns the gate for an event with the given depth. Its caller must not enter it
// twice.
func (p *Publisher) Gate(depth int) *conns.Gate {
	if depth > 0 {
		return &p.byHandlers
	}
	return &p.byHost
}

// Pass sends a message that is live only. It does not block. Errors: [refused.ErrTooLarge], and
// [bounded.ErrTemporary] if too many wait.
func (p *Publisher) Pass(ev backend.Event, from Origin) error {
	err := p.pass(ev, &from)
	p.ephemeral.Inc(passOutcome(err))
	return err
}

func passOutcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, refused.ErrTooLarge):
		return "too_large"
	case errors.Is(err, backend.ErrClosed):
		return "closed"
	}
	return "full"
}

func (p *Publisher) pass(ev backend.Event, from *Origin) error {
	if len(ev.Data) > wire.MaxEphemeral {
		return fmt.Errorf("%w: %d bytes of at most %d, live only", refused.ErrTooLarge, len(ev.Data), wire.MaxEphemeral)
	}
	g := p.Gate(from.Depth)
	if !g.Enter() {
		return backend.ErrClosed
	}
	defer g.Leave()
	ev = from.stamp(ev, time.Now())
	ev.Key = match.TypeOf(ev.Data)
	if err := p.live.Publish(ev); err != nil { // live.ErrFull
		return fault.Errorf("%w: %w", bounded.ErrTemporary, err)
	}
	return nil
}

// EndHost lets in no more events of the host and of clients, and waits until those that
// were let in have come back through the log, for at most 2 s for each of both.
func (p *Publisher) EndHost(ctx context.Context) { p.end(ctx, &p.byHost) }

// EndHandlers is EndHost for the events of handlers.
func (p *Publisher) EndHandlers(ctx context.Context) { p.end(ctx, &p.byHandlers) }

func (p *Publisher) end(ctx context.Context, g *conns.Gate) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	g.Close(ctx)
	p.Settle(ctx)
}

// IsEnded reports whether EndHandlers was called.
func (p *Publisher) IsEnded() bool { return p.byHandlers.IsClosed() }

// Stats are what a Publisher has done.
type Stats struct {
	Calls     metric.CallStats  // of Append
	Ephemeral map[string]uint64 // of Pass, by outcome
	Unread    uint64            // how many records were appended and not yet read back
}

// Stats returns the present figures.
func (p *Publisher) Stats() Stats {
	s := Stats{Calls: p.calls.Stats(), Ephemeral: p.ephemeral.Values()}
	if head, own := p.ring.Head(), p.accepted.get(); own.Epoch == head.Epoch {
		s.Unread = max(own.Seq, head.Seq) - head.Seq
	}
	return s
}
