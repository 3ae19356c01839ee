package handle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/jitter"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/malformed"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Group is a set of handlers that share their progress. Its methods may be called
// concurrently, and do not block.
type Group struct {
	node   *Node
	closed *atomic.Bool // that of its Groups
	name   string
	opts   Options
	start  backend.Position // where the group begins if it has no progress yet
	claim  *Claim
	tally  tally

	malformed malformed.Records

	mu       sync.RWMutex
	index    match.Index[*handler]
	handlers int // in index
	launched bool
	hold     *hold         // while this node holds the group
	tried    chan struct{} // closed when this node has tried to hold it for the first time
}

// Options of a group. All numbers and durations must be greater than 0.
type Options struct {
	Concurrency         int           // handlers that run at once
	Attempts            int           // calls of a handler for one event, until it succeeds
	Backoff, MaxBackoff time.Duration // the wait before the first retry, which doubles, and its bound
	Timeout             time.Duration // of one call

	Final      func(error) bool                                // whether an error of a handler is not worth another attempt
	DeadLetter func(context.Context, Delivery, error)          // an event was not handled; nil: that is logged
	Missed     func(reason string)                             // events were lost before they were handled, for this reason; nil: that is logged
	Context    func(context.Context, Delivery) context.Context // of a call
}

// Handler is called for an event.
type Handler func(context.Context, Delivery) error

// Delivery is one call of a handler.
type Delivery struct {
	Event   *backend.Event
	Pos     backend.Position // of the event
	Depth   int              // of the event: how many handlers in a row have led to it
	Trace   backend.Trace    // of the event
	Group   string           // its public name
	Handler int              // which of the group's, in the order in which they were added: 0, 1, …
	Attempt int              // 1, 2, …
}

func (g *Group) delivery(e *backend.Logged, to *handler, attempt int) Delivery {
	return Delivery{
		Event: &e.Event, Pos: e.Pos, Depth: e.Depth, Trace: e.Trace, Group: g.PublicName(), Handler: to.number, Attempt: attempt,
	}
}

// handler is a registered function. It gets events after from.
type handler struct {
	handle Handler
	number int // in the order in which they were added
	from   backend.Position
}

// PublicName is the name that logs show: "" for a name with a $, which the host did not
// give.
func (g *Group) PublicName() string {
	if g.name[0] == '$' {
		return ""
	}
	return g.name
}

// Add adds a handler for the events that match r. After Launch it gets those from now
// on. The error is [ErrClosed].
func (g *Group) Add(r match.Rule, f Handler) error {
	if g.closed.Load() {
		return ErrClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h := &handler{handle: f, number: g.handlers}
	g.handlers++
	if g.launched {
		h.from = g.node.Now()
	}
	g.index.Add(r, h)
	return nil
}

// find returns the handlers of an event at pos.
func (g *Group) find(ev *backend.Event, pos backend.Position) []*handler {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return slices.DeleteFunc(g.index.Find(ev), func(h *handler) bool { return pos.Compare(h.from) <= 0 })
}

// groupLease is the time after the death of a group's holder in which no other node
// takes the group over. On a backend of one process a hold never ends.
const (
	groupLease = 10 * time.Second
	noLease    = 1 << 62 * time.Nanosecond // 146 years
)

// run handles the group's events whenever this node holds the group.
func (g *Group) run(ctx context.Context) {
	var first sync.Once
	tried := func() { first.Do(func() { close(g.tried) }) }
	defer tried()
	for ctx.Err() == nil {
		p, err := g.claim.Hold(ctx)
		if g.claim.Forgotten() {
			g.missed(string(ring.Lost))
		}
		switch {
		case err == nil:
			h := newHold(ctx, g, p)
			g.setHold(h)
			tried()
			h.run()
			g.setHold(nil)
		case errors.Is(err, backend.ErrClosed):
			return
		case errors.Is(err, errRecord):
			g.malformed.Report(g.node.Logger, g.claim.key, err)
		case !errors.Is(err, ErrHeld) && ctx.Err() == nil:
			g.node.Logger.Error("realtime: a group of handlers cannot be claimed; trying again", "group", g.PublicName(), "error", err)
		}
		tried()
		wait := jitter.Half(groupLease / 3)
		if free := g.claim.FreeIn(); errors.Is(err, ErrHeld) && free > 0 {
			wait = min(wait, free) // a dead node's group is taken over at once when its lease is over
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func (g *Group) setHold(h *hold) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = h
}

// held returns nil while this node does not hold the group.
func (g *Group) held() *hold {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.hold
}

// Pending returns how many events wait for the group's handlers on this node.
func (g *Group) Pending() int {
	if h := g.held(); h != nil {
		return h.tracker.Pending()
	}
	return 0
}

// waitHandled waits until the group has handled what there is up to pos, if this node
// is to do it.
func (g *Group) waitHandled(ctx context.Context, pos backend.Position) error {
	select {
	case <-g.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	if h := g.held(); h != nil {
		return h.tracker.Until(ctx, pos)
	}
	return nil
}

// handlesIn reports whether a handler can get events of a domain.
func (g *Group) handlesIn(domain string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.index.MayMatchIn(domain)
}

func (g *Group) missed(reason string) {
	g.tally.missed.Inc(reason)
	if g.opts.Missed == nil {
		g.node.Logger.Warn("realtime: handlers missed events", "group", g.PublicName(), "reason", reason)
		return
	}
	_ = g.guard("Missed", func() error { g.opts.Missed(reason); return nil }) // logged
}

func (g *Group) deadLetter(ctx context.Context, d Delivery, err error) {
	if g.node.Dead != nil {
		g.node.Dead(d, err)
	}
	g.tally.deadLetters.Inc()
	if g.opts.DeadLetter == nil {
		g.node.Logger.Error("realtime: an event was not handled", "group", d.Group, "type", d.Event.Type,
			"cursor", wire.Cursor(d.Pos), "attempts", d.Attempt, "error", err)
		return
	}
	_ = g.guard("DeadLetter", func() error { g.opts.DeadLetter(ctx, d, err); return nil }) // logged
}

// guard calls a function of the host. It logs a panic, and returns it as an error.
func (g *Group) guard(what string, f func() error) error {
	err := guard.Log(g.node.Logger, "realtime: panic in a function of a group of handlers", f, "function", what, "group", g.PublicName())
	if p, ok := err.(*guard.Panic); ok {
		return fault.Errorf("realtime: %s: %w", what, p)
	}
	return err
}
