// Package control makes changes of rights on all nodes of a cluster, through records in
// the log that no client sees.
package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/engine"
)

// Types of control records. The Key of a record names the request, its User is the user
// concerned, its Source is the node that appended it.
const (
	Revoke  = "$revoke"
	Recheck = "$recheck"
	done    = "$done" // by Source, with the request of Key
)

// Node is what the requests of a node use. Append and Nodes return public errors.
type Node struct {
	Name    func() string // of this node, in the records
	Append  func(context.Context, backend.Entry) error
	Nodes   func(context.Context) ([]string, error)                   // the names of those that are alive, in memory of its own
	Do      map[string]func(ctx context.Context, userID string) error // on this node, by the type of the request
	Logger  *slog.Logger
	Closed  error           // what Append returns when this node is closed
	Running context.Context // ends when the node ends
	Go      func(func())    // runs a function in a goroutine for which the node waits
}

// Control is the part of a node in requests to all nodes. Its methods may be called
// concurrently.
type Control struct {
	node  Node
	doing chan struct{} // holds one for each request of another node that is being carried out

	mu    sync.Mutex
	asked map[string]*request // of this node, which wait for confirmation
}

// New returns the Control of a node.
func New(node Node) *Control {
	return &Control{node: node, doing: make(chan struct{}, doAtOnce), asked: make(map[string]*request)}
}

// request is a request of this node to the others.
type request struct {
	confirmed map[string]struct{} // the nodes that have carried it out
	changed   chan struct{}       // holds one
}

// askTime is the time that Everywhere waits for other nodes if ctx has no deadline, and
// that a node has for the request of another.
const askTime = 5 * time.Second

// doAtOnce bounds the requests of other nodes that are carried out at the same time.
// Further requests are not confirmed, so that the other node reports this one.
const doAtOnce = 64

type obligedKey struct{}

// Obliged reports whether ctx is that of a request of another node. A request within it
// must stay on its node: otherwise a policy that calls Recheck whenever it is asked
// would keep the nodes busy with each other for ever.
func Obliged(ctx context.Context) bool { return ctx.Value(obligedKey{}) != nil }

// Everywhere makes a change of the rights of a user on all nodes: here by [Node].Do,
// elsewhere through a control record. It returns nil when all live nodes have confirmed
// it; otherwise the error names those that have not. It may block as long as ctx, and
// for 5 s more than Do if ctx has no deadline.
func (c *Control) Everywhere(ctx context.Context, what, userID string) error {
	id := rand.Text()
	r := &request{confirmed: make(map[string]struct{}), changed: make(chan struct{}, 1)}
	c.mu.Lock()
	c.asked[id] = r
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asked, id)
	}()
	told := c.tell(ctx, what, id, userID)
	err := c.node.Do[what](ctx, userID) // even if the others cannot be told
	if told != nil {
		return errors.Join(err, fmt.Errorf("realtime: the other nodes are not told: %w", told))
	}
	return errors.Join(err, c.confirmed(ctx, r))
}

func (c *Control) tell(ctx context.Context, what, id, userID string) error {
	p := backend.Payload{Event: backend.Event{
		Resource: backend.Control, Type: what, Key: id, User: userID, Source: c.node.Name(), UnixMilli: time.Now().UnixMilli(),
	}}
	return c.node.Append(ctx, backend.Entry{ID: what + " " + c.node.Name() + " " + id, Data: p.Encode()})
}

// confirmed waits until all other nodes that are alive have confirmed a request.
func (c *Control) confirmed(ctx context.Context, r *request) error {
	ctx, cancel := engine.Within(ctx, askTime)
	defer cancel()
	var missing []string
	for {
		nodes, err := c.node.Nodes(ctx)
		switch {
		case err == nil:
			missing = c.missing(r, nodes)
		case ctx.Err() == nil:
			return fmt.Errorf("realtime: the nodes that are alive are not known: %w", err)
		}
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-r.changed:
		case <-time.After(askTime / 20): // one of them has perhaps ended
		case <-ctx.Done():
			return fmt.Errorf("realtime: not confirmed by the nodes %q: %w", missing, ctx.Err())
		case <-c.node.Running.Done(): // no confirmation is read any longer
			return fmt.Errorf("realtime: not confirmed by the nodes %q: %w", missing, c.node.Closed)
		}
	}
}

// missing returns the nodes that have not confirmed a request, without this one.
func (c *Control) missing(r *request, nodes []string) []string {
	own := c.node.Name()
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(nodes, func(name string) bool {
		_, has := r.confirmed[name]
		return has || name == own
	})
}

// Handle handles a control record. It does not block.
func (c *Control) Handle(ev backend.Event) {
	if ev.Source == c.node.Name() {
		return
	}
	if ev.Type == done {
		c.confirm(ev)
	} else if do := c.node.Do[ev.Type]; do != nil { // nil: it is a request of a newer version
		c.oblige(ev, do)
	}
}

// confirm notes that another node has carried out a request of this node.
func (c *Control) confirm(ev backend.Event) {
	c.mu.Lock()
	r := c.asked[ev.Key]
	if r != nil {
		r.confirmed[ev.Source] = struct{}{}
	}
	c.mu.Unlock()
	if r != nil {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

// oblige carries out a request of another node, and confirms it.
func (c *Control) oblige(ev backend.Event, do func(context.Context, string) error) {
	select {
	case c.doing <- struct{}{}:
	default:
		c.node.Logger.Error("realtime: too many changes of rights by other nodes at once; one is not made here", "user", ev.User)
		return
	}
	c.node.Go(func() {
		defer func() { <-c.doing }()
		ctx, cancel := context.WithTimeout(context.WithValue(c.node.Running, obligedKey{}, true), askTime)
		defer cancel()
		err := do(ctx, ev.User)
		if err == nil {
			err = c.tell(ctx, done, ev.Key, ev.User)
		}
		if err != nil && !errors.Is(err, c.node.Closed) && c.node.Running.Err() == nil {
			c.node.Logger.Error("realtime: a change of rights by another node is not confirmed", "user", ev.User, "error", err)
		}
	})
}
