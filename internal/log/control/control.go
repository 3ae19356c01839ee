// Package control makes requests of one node to others of a cluster, through records in
// the log that no client sees: to all of them, such as changes of rights, and to the one
// that can answer.
package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// Types of control records. The Key of a record names the request, its User is the user
// concerned, its Source is the node that appended it.
const (
	Revoke  = "$revoke"
	Recheck = "$recheck"
	done    = "$done"   // by Source, with the request of Key
	answer  = "$answer" // by Source, to the question of Key, of the type that Namespace names
)

// Node is what the requests of a node use. Append and Nodes return public errors.
type Node struct {
	Name    func() string // of this node, in the records
	Append  func(context.Context, backend.Entry) error
	Nodes   func(context.Context) ([]string, error)                   // the names of those that are alive, in memory of its own
	Do      map[string]func(ctx context.Context, userID string) error // on this node, by the type of the request
	Asks    map[string]Ask                                            // by the type of the request
	Logger  *slog.Logger
	Running context.Context // ends when the node ends
	Go      func(func())    // runs a function in a goroutine for which the node waits
}

// Control is the part of a node in requests to all nodes. Its methods may be called
// concurrently.
type Control struct {
	node      Node
	doing     chan struct{} // holds one for each request of another node that is being carried out
	answering chan struct{} // the same for questions

	mu     sync.Mutex
	asked  map[string]*request             // of this node, which wait for confirmation
	asking map[string]chan json.RawMessage // of this node, by what its questions wait for; each holds one
}

// New returns the Control of a node.
func New(node Node) *Control {
	return &Control{
		node: node, doing: make(chan struct{}, doAtOnce), answering: make(chan struct{}, answerAtOnce),
		asked: make(map[string]*request), asking: make(map[string]chan json.RawMessage),
	}
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

type obligedKey struct{} // with the value of a request from within a call: see [From]

// Within says in the context of a request what of the host makes it, which waits for the
// other nodes and for which they should not wait in turn. They learn it from [From].
func Within(ctx context.Context, what string) context.Context {
	return context.WithValue(ctx, withinKey{}, what)
}

type withinKey struct{}

// From returns what the node whose request ctx is of has said with [Within]; "" if it has said
// nothing, or is of an older version.
func From(ctx context.Context) string {
	from, _ := ctx.Value(obligedKey{}).(string)
	return from
}

// Obliged reports whether ctx is that of a request of another node. A request within it
// must stay on its node: otherwise a policy that calls Recheck whenever it is asked
// would keep the nodes busy with each other for ever.
func Obliged(ctx context.Context) bool { return ctx.Value(obligedKey{}) != nil }

// Everywhere makes a request to all nodes, such as a change of the rights of a user: here by
// [Node].Do, elsewhere through a control record. It returns nil when all live nodes have confirmed
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
	within, _ := ctx.Value(withinKey{}).(string)
	told := c.tell(ctx, backend.Event{Type: what, Key: id, User: userID, Namespace: within})
	err := c.node.Do[what](ctx, userID) // even if the others cannot be told
	if told != nil {
		return errors.Join(err, fault.Errorf("realtime: the other nodes are not told: %w", told))
	}
	return errors.Join(err, c.confirmed(ctx, r))
}

// tell appends a record of a request, whose id is the Key.
func (c *Control) tell(ctx context.Context, ev backend.Event) error {
	ev.Resource, ev.Source, ev.UnixMilli = backend.Control, c.node.Name(), time.Now().UnixMilli()
	p := backend.Payload{Event: ev}
	return c.node.Append(ctx, backend.Entry{ID: ev.Type + " " + ev.Source + " " + ev.Key, Data: p.Encode()})
}

// confirmed waits until all other nodes that are alive have confirmed a request.
func (c *Control) confirmed(ctx context.Context, r *request) error {
	ctx, cancel := bounded.Within(ctx, askTime)
	defer cancel()
	var missing []string
	for {
		nodes, err := c.node.Nodes(ctx)
		switch {
		case err == nil:
			missing = c.missing(r, nodes)
		case ctx.Err() == nil:
			return fault.Errorf("realtime: the nodes that are alive are not known: %w", err)
		}
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-r.changed:
		case <-time.After(askTime / 20): // one of them has perhaps ended
		case <-ctx.Done():
			return fault.Errorf("realtime: not confirmed by the nodes %q: %w", missing, ctx.Err())
		case <-c.node.Running.Done(): // no confirmation is read any longer
			return fault.Errorf("realtime: not confirmed by the nodes %q: %w", missing, bounded.ErrClosed)
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
	switch do := c.node.Do[ev.Type]; {
	case ev.Type == done:
		c.confirm(ev)
	case ev.Type == answer:
		c.hear(ev)
	case do != nil:
		c.oblige(ev, do)
	default: // a question, or a request of a newer version
		c.reply(ev)
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
		if isOfRights(ev) {
			c.node.Logger.Error("realtime: too many changes of rights by other nodes at once; one is not made here", "user", ev.User)
		} else {
			c.tooMany(ev)
		}
		return
	}
	c.node.Go(func() {
		defer func() { <-c.doing }()
		ctx, cancel := context.WithTimeout(context.WithValue(c.node.Running, obligedKey{}, ev.Namespace), askTime)
		defer cancel()
		err := do(ctx, ev.User)
		if err == nil {
			err = c.tell(ctx, backend.Event{Type: done, Key: ev.Key, User: ev.User})
		}
		switch {
		case err == nil, errors.Is(err, bounded.ErrClosed), c.node.Running.Err() != nil:
		case isOfRights(ev):
			c.node.Logger.Error("realtime: a change of rights by another node is not confirmed", "user", ev.User, "error", err)
		default:
			c.node.Logger.Error("realtime: a request of another node is not confirmed", "request", ev.Type, "error", err)
		}
	})
}

// isOfRights reports whether a request changes the rights of a user.
func isOfRights(ev backend.Event) bool { return ev.Type == Revoke || ev.Type == Recheck }

func (c *Control) tooMany(ev backend.Event) {
	c.node.Logger.Error("realtime: too many requests of other nodes at once; one is not carried out here", "request", ev.Type)
}
