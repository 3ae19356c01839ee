// Package handle runs the groups of handlers of a node: it passes events of the ring to
// handlers, repeats failed calls, and stores the progress of each group in a backend.
// One node at a time holds a group. So an event is handled once per group, however many
// nodes there are and whichever of them dies.
package handle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/metric"
)

// ErrBadGroup: a group cannot have its name, or there is none of this name.
var ErrBadGroup = errors.New("realtime: bad group")

// Errors of [Groups].
var (
	ErrClosed = errors.New("handle: closed")
	ErrTaken  = errors.New("handle: there is a group of this name")
)

// Node is what the groups of a node use.
type Node struct {
	Name   string
	Alone  bool // no other node uses the store: no lease is needed
	Store  backend.Store
	Log    backend.Log // what Retry reads from
	Ring   *ring.Ring
	Logger *slog.Logger

	Dead    func(Delivery, error)   // is told of each event that was not handled; may be nil
	Pending int                     // the greatest number of events that wait in one group
	Depth   int                     // how many handlers may react to each other in a row
	Now     func() backend.Position // the place after all events that the node knows of
	Settle  func(context.Context)   // waits until the events that handlers have caused are in the ring
	Ending  func() bool             // whether events that handlers cause are refused, so that no call can succeed
	Go      func(func())            // runs a function in a goroutine for which the node waits
}

// Groups are the groups of handlers of a node. Its methods may be called concurrently.
type Groups struct {
	node    Node
	running context.Context // ends when the groups are given up
	stop    context.CancelFunc
	closed  atomic.Bool

	mu    sync.Mutex
	named map[string]*Group

	registering sync.Mutex // comes before all other locks
	own         *Group     // guarded by registering; nil: there is none yet
}

// New returns no groups. They stop when ctx ends.
func New(ctx context.Context, node Node) *Groups {
	gs := &Groups{node: node, named: make(map[string]*Group)}
	gs.running, gs.stop = context.WithCancel(ctx)
	return gs
}

// New returns a group to which handlers can be added. It does nothing until Launch.
func (gs *Groups) New(name string, opts Options) *Group {
	lease := groupLease
	if gs.node.Alone {
		lease = noLease
	}
	return &Group{
		node: &gs.node, closed: &gs.closed, name: name, opts: opts, start: gs.node.Now(),
		claim: NewClaim(gs.node.Store, gs.node.Name, name, lease), tried: make(chan struct{}),
		tally: tally{missed: metric.NewSet(string(ring.Lost), string(ring.Evicted), string(ring.Epoch))},
	}
}

// Launch starts a group. Errors: [ErrTaken] and [ErrClosed].
func (gs *Groups) Launch(g *Group) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.closed.Load() {
		return ErrClosed
	}
	if gs.named[g.name] != nil {
		return ErrTaken
	}
	gs.named[g.name] = g
	g.mu.Lock()
	g.launched = true
	g.mu.Unlock()
	gs.node.Go(func() { g.run(gs.running) })
	return nil
}

// ownName is how the name of the group of a process begins. A host cannot use it.
const ownName = "$process"

// OwnName returns the name of the group of this process.
func (gs *Groups) OwnName() string { return ownName + ":" + gs.node.Name }

// Own has register add handlers to the group of this process, which starts when the first
// have been added. Errors: those of register and Launch, and [ErrBadGroup] if there are
// other nodes: each of them would handle each event.
func (gs *Groups) Own(opts Options, register func(*Group) error) error {
	if !gs.node.Alone {
		return fmt.Errorf("%w: on a backend of several processes it needs a name; use Group", ErrBadGroup)
	}
	gs.registering.Lock()
	defer gs.registering.Unlock()
	if gs.own != nil {
		return register(gs.own)
	}
	g := gs.New(gs.OwnName(), opts)
	if err := register(g); err != nil {
		return err
	}
	if err := gs.Launch(g); err != nil {
		return err
	}
	gs.own = g
	return nil
}

// Close makes Launch and Add fail.
func (gs *Groups) Close() {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.closed.Store(true)
}

// Stop gives all groups up, after Close. Calls of handlers that are running get a
// context that has ended.
func (gs *Groups) Stop() { gs.stop() }

// Drain waits, after Close, until the groups that this node holds have handled all
// events in the ring, including those that handlers cause meanwhile. It takes at most
// half of the time left in ctx, which must have a deadline.
func (gs *Groups) Drain(ctx context.Context) error {
	gs.mu.Lock()
	all := slices.Collect(maps.Values(gs.named))
	gs.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	for range gs.node.Depth + 1 {
		head := gs.node.Ring.Head()
		for _, g := range all {
			if err := g.waitHandled(ctx, head); err != nil {
				return fault.Errorf("realtime: group %q did not finish: %w", g.PublicName(), err)
			}
		}
		gs.node.Settle(ctx)
		if gs.node.Ring.Head() == head {
			break
		}
	}
	return nil
}
