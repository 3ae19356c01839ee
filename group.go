package realtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Group is a set of handlers that share their progress: each handler of a group
// handles an event once, however many processes have registered the group. One process
// at a time does the work. When it dies, another one takes over within seconds, and
// handles again the events that were in progress.
//
// Within the history that nodes keep, each event is handled at least once. A handler
// that failed half-way, or whose process died, gets its event again. If another process
// takes over, the other handlers of that event get it again too. [DeliveryOf] returns a
// name by which a handler can recognise an event.
//
// Its methods must be called by the function given to [Realtime.Group], or later; they
// may be called concurrently, and do not block.
type Group struct {
	rt    *Realtime
	name  string
	opts  GroupOptions
	start backend.Position // where the group begins if it has no progress yet
	claim *handle.Claim

	mu       sync.RWMutex
	index    match.Index[*handler]
	launched bool
	hold     *hold         // while this node holds the group
	tried    chan struct{} // closed when this node has tried to hold it for the first time
}

// GroupOptions are all optional: zero fields mean the defaults, or, for a named
// group, [Options].Groups.
type GroupOptions struct {
	// Concurrency is the number of handlers that run at once. With 1 no two calls
	// overlap, as a handler needs that derives one value from several keys. Default 16.
	Concurrency int

	// Attempts is the number of calls of a handler for one event, until it succeeds.
	// Default 8. A process that takes the group over continues the count for the first
	// handler of the event, and begins at 1 for the others.
	Attempts int

	// Backoff is the wait before the first retry. The wait doubles each time, up to
	// MaxBackoff, and is shortened at random by up to a half. Only events of the same
	// channel or key wait meanwhile. Defaults 200 ms and 30 s.
	Backoff, MaxBackoff time.Duration

	// Timeout ends the context of one call. Default 30 s.
	Timeout time.Duration

	// DeadLetter is called for an event after the last attempt of a handler has
	// failed. It may block until its context ends. Default: the error is logged.
	DeadLetter func(context.Context, DeadLetter)

	// Missed is called when events were lost before the group has handled them: the
	// group lagged by more than the history, or the backend lost them. It must not
	// block. Default: a warning is logged.
	Missed func(*ResetError)
}

var defaultGroup = GroupOptions{
	Concurrency: 16, Attempts: 8, Backoff: 200 * time.Millisecond, MaxBackoff: 30 * time.Second, Timeout: 30 * time.Second,
}

// or returns o with its zero fields replaced by those of defaults.
func (o GroupOptions) or(defaults GroupOptions) GroupOptions {
	set(&o.Concurrency, defaults.Concurrency)
	set(&o.Attempts, defaults.Attempts)
	set(&o.Backoff, defaults.Backoff)
	set(&o.MaxBackoff, defaults.MaxBackoff)
	set(&o.Timeout, defaults.Timeout)
	if o.DeadLetter == nil {
		o.DeadLetter = defaults.DeadLetter
	}
	if o.Missed == nil {
		o.Missed = defaults.Missed
	}
	return o
}

// check returns an error that names each option out of its range. of names the struct.
func (o *GroupOptions) check(of string) error {
	return errors.Join(
		atLeast(0, of+".Concurrency", o.Concurrency), atLeast(0, of+".Attempts", o.Attempts),
		atLeast(0, of+".Backoff", o.Backoff), atLeast(0, of+".MaxBackoff", o.MaxBackoff),
		atLeast(0, of+".Timeout", o.Timeout))
}

// groups are the groups of handlers of a Realtime.
type groups struct {
	rt      *Realtime
	running context.Context // ends when the groups are given up
	stop    context.CancelFunc

	mu     sync.Mutex
	closed bool
	named  map[string]*Group
}

// processGroup is the name of the group of a process. A host cannot use it.
const processGroup = "$process"

func (gs *groups) init(rt *Realtime) {
	gs.rt, gs.named = rt, make(map[string]*Group)
	gs.running, gs.stop = context.WithCancel(rt.running)
}

// Group adds a named group, and calls register to add its handlers. If the backend
// serves several processes, all that register a group of the same name share its work.
// The group begins with events after its first registration by any of them. opts may be
// nil. Group does not block, unless register does.
//
// A handler added after register has returned gets only events from then on, not the
// group's backlog.
//
// Errors: those of register, in which case there is no group; [ErrBadOption],
// [ErrBadGroup] and [ErrClosed].
func (rt *Realtime) Group(name string, opts *GroupOptions, register func(*Group) error) error {
	if badChannel(name) {
		return fmt.Errorf("%w: name %s", ErrBadGroup, wire.Quote(name))
	}
	var o GroupOptions
	if opts != nil {
		o = *opts
	}
	if err := o.check("GroupOptions"); err != nil {
		return err
	}
	g := newGroup(rt, name, o.or(rt.opts.Groups))
	if err := register(g); err != nil {
		return err
	}
	rt.groups.mu.Lock()
	defer rt.groups.mu.Unlock()
	if rt.groups.named[name] != nil {
		return fmt.Errorf("%w: %s is taken", ErrBadGroup, wire.Quote(name))
	}
	return rt.groups.launch(name, g)
}

// local registers handlers in the group of this process.
func (rt *Realtime) local(register func(*Group) error) error {
	if !rt.alone() {
		return fmt.Errorf("%w: on a backend of several processes it needs a name; use Group", ErrBadGroup)
	}
	rt.groups.mu.Lock()
	defer rt.groups.mu.Unlock()
	if g := rt.groups.named[processGroup]; g != nil {
		return register(g)
	}
	g := newGroup(rt, processGroup+":"+rt.node, rt.opts.Groups)
	if err := register(g); err != nil {
		return err
	}
	return rt.groups.launch(processGroup, g)
}

func newGroup(rt *Realtime, name string, opts GroupOptions) *Group {
	lease := groupLease
	if rt.alone() {
		lease = noLease
	}
	return &Group{
		rt: rt, name: name, opts: opts, start: rt.now(), claim: handle.New(rt.backend, rt.node, name, lease),
		tried: make(chan struct{}),
	}
}

// alone reports whether the backend serves this process only.
func (rt *Realtime) alone() bool { return rt.backend.SingleProcess() }

// launch starts a group. The caller must hold gs.mu.
func (gs *groups) launch(name string, g *Group) error {
	if gs.closed {
		return ErrClosed
	}
	gs.named[name] = g
	g.mu.Lock()
	g.launched = true
	g.mu.Unlock()
	gs.rt.background.Go(func() { g.run(gs.running) })
	return nil
}

// drain refuses new groups, and waits until the groups that this node holds have
// handled all events in the ring, including those that handlers cause meanwhile. It
// takes at most half of the time left in ctx.
func (gs *groups) drain(ctx context.Context) error {
	gs.mu.Lock()
	gs.closed = true
	var all []*Group
	for _, g := range gs.named {
		all = append(all, g)
	}
	gs.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	for range maxDepth + 1 {
		head := gs.rt.ring.Head()
		for _, g := range all {
			if err := g.waitHandled(ctx, head); err != nil {
				return fmt.Errorf("realtime: group %q did not finish: %w", g.publicName(), err)
			}
		}
		gs.rt.waitAccepted(ctx)
		if gs.rt.ring.Head() == head {
			break
		}
	}
	return nil
}

// waitHandled waits until the group has handled what there is up to pos, if this node
// is to do it.
func (g *Group) waitHandled(ctx context.Context, pos backend.Position) error {
	select {
	case <-g.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	g.mu.RLock()
	s := g.hold
	g.mu.RUnlock()
	if s == nil {
		return nil
	}
	return s.tracker.Until(ctx, pos)
}

func (g *Group) publicName() string {
	if g.name[0] == '$' {
		return ""
	}
	return g.name
}

// handler is a registered function. It gets events after from.
type handler struct {
	handle EventHandler
	from   backend.Position
}

// add adds a handler; err is the error of its rule.
func (g *Group) add(r match.Rule, f EventHandler, err error) error {
	if err != nil {
		return err
	}
	if f == nil {
		return errors.New("realtime: a handler is nil")
	}
	if g.rt.conns.IsClosed() {
		return ErrClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h := &handler{handle: f}
	if g.launched {
		h.from = g.rt.now()
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

func (g *Group) missed(reason string) {
	lost := &ResetError{reason}
	if g.opts.Missed == nil {
		g.rt.log.Warn("realtime: handlers missed events", "group", g.publicName(), "reason", reason)
		return
	}
	_ = g.guard("Missed", func() error { g.opts.Missed(lost); return nil }) // logged
}

func (g *Group) deadLetter(ctx context.Context, d DeadLetter) {
	if g.opts.DeadLetter == nil {
		g.rt.log.Error("realtime: an event was not handled", "group", g.publicName(), "type", d.Event.Type,
			"cursor", d.Delivery.Cursor, "attempts", d.Delivery.Attempt, "error", d.Err)
		return
	}
	_ = g.guard("DeadLetter", func() error { g.opts.DeadLetter(ctx, d); return nil }) // logged
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
		switch {
		case err == nil:
			s := newHold(ctx, g, p)
			g.setHold(s)
			tried()
			s.run()
			g.setHold(nil)
		case errors.Is(err, backend.ErrClosed):
			return
		case !errors.Is(err, handle.ErrHeld) && ctx.Err() == nil:
			g.rt.log.Error("realtime: a group of handlers cannot be claimed; trying again", "group", g.publicName(), "error", err)
		}
		tried()
		wait := jittered(groupLease / 3)
		if free := g.claim.FreeIn(); errors.Is(err, handle.ErrHeld) && free > 0 {
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
