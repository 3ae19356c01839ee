package realtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// Types of control records, by which nodes tell each other of changes of rights through
// the log. The Key of a record names the request, its User is the user concerned, its
// Source is the node that appended it.
const (
	tellRevoke  = "$revoke"
	tellRecheck = "$recheck"
	tellDone    = "$done" // by Source, with the request of Key
)

// controls are the requests of this node that wait for confirmation, and those of other
// nodes that are being carried out.
type controls struct {
	mu    sync.Mutex
	asked map[string]*request
	doing chan struct{} // holds one for each that is being done
}

func (c *controls) init() {
	c.asked, c.doing = make(map[string]*request), make(chan struct{}, doAtOnce)
}

// request is a request of this node to the others.
type request struct {
	confirmed map[string]struct{} // the nodes that have carried it out
	changed   chan struct{}       // holds one
}

// askTime is the time that Revoke and Recheck wait for other nodes if ctx has no
// deadline.
const askTime = 5 * time.Second

// doAtOnce bounds the requests of other nodes that are carried out at the same time.
// Further requests are not confirmed, so that the other node reports this one.
const doAtOnce = 64

// obligedKey marks the context in which a request of another node is carried out. A
// Recheck within it stays on its node: otherwise a policy that calls Recheck whenever it
// is asked would keep the nodes busy with each other for ever.
type obligedKey struct{}

// everywhere makes a change of rights on all nodes: here by do, elsewhere through a
// control record. It returns nil when all live nodes have confirmed it; otherwise the
// error names those that have not.
func (rt *Realtime) everywhere(ctx context.Context, what, userID string, do func(context.Context, string) error) error {
	again := ctx.Value(obligedKey{}) != nil || policyCallOf(ctx).rechecks() != nil
	if rt.alone() || what == tellRecheck && again {
		return do(ctx, userID)
	}
	id := rand.Text()
	r := &request{confirmed: make(map[string]struct{}), changed: make(chan struct{}, 1)}
	rt.controls.mu.Lock()
	rt.controls.asked[id] = r
	rt.controls.mu.Unlock()
	defer func() {
		rt.controls.mu.Lock()
		delete(rt.controls.asked, id)
		rt.controls.mu.Unlock()
	}()
	told := rt.tell(ctx, what, id, userID)
	err := do(ctx, userID) // even if the others cannot be told
	if told != nil {
		return errors.Join(err, fmt.Errorf("realtime: the other nodes are not told: %w", told))
	}
	return errors.Join(err, rt.confirmed(ctx, r))
}

func (rt *Realtime) tell(ctx context.Context, what, id, userID string) error {
	if !rt.byHost.Enter() {
		return ErrClosed
	}
	defer rt.byHost.Leave()
	p := backend.Payload{Event: backend.Event{
		Resource: backend.Control, Type: what, Key: id, User: userID, Source: rt.presence.engine.Name(), UnixMilli: time.Now().UnixMilli(),
	}}
	_, err := rt.backend.Append(ctx, backend.Entry{ID: what + " " + rt.presence.engine.Name() + " " + id, Data: p.Encode()})
	return publicError(err)
}

// confirmed waits until all other nodes that are alive have confirmed a request.
func (rt *Realtime) confirmed(ctx context.Context, r *request) error {
	ctx, cancel := within(ctx, askTime)
	defer cancel()
	var missing []string
	for {
		nodes, err := rt.presence.engine.Nodes(ctx)
		switch {
		case err == nil:
			missing = rt.missing(r, nodes)
		case ctx.Err() == nil:
			return fmt.Errorf("realtime: the nodes that are alive are not known: %w", publicError(err))
		}
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-r.changed:
		case <-time.After(askTime / 20): // one of them has perhaps ended
		case <-ctx.Done():
			return fmt.Errorf("realtime: not confirmed by the nodes %q: %w", missing, ctx.Err())
		}
	}
}

// missing returns the nodes that have not confirmed a request, without this one.
func (rt *Realtime) missing(r *request, nodes []string) []string {
	own := rt.presence.engine.Name()
	rt.controls.mu.Lock()
	defer rt.controls.mu.Unlock()
	return slices.DeleteFunc(nodes, func(name string) bool {
		_, done := r.confirmed[name]
		return done || name == own
	})
}

// control handles a control record. The follower calls it; it must not block.
func (rt *Realtime) control(ev backend.Event) {
	if ev.Source == rt.presence.engine.Name() {
		return
	}
	switch ev.Type {
	case tellDone:
		rt.controls.mu.Lock()
		r := rt.controls.asked[ev.Key]
		if r != nil {
			r.confirmed[ev.Source] = struct{}{}
		}
		rt.controls.mu.Unlock()
		if r != nil {
			select {
			case r.changed <- struct{}{}:
			default:
			}
		}
	case tellRevoke:
		rt.oblige(ev, rt.revoke)
	case tellRecheck:
		rt.oblige(ev, rt.recheckUser)
	}
}

// oblige carries out a request of another node, and confirms it.
func (rt *Realtime) oblige(ev backend.Event, do func(context.Context, string) error) {
	select {
	case rt.controls.doing <- struct{}{}:
	default:
		rt.log.Error("realtime: too many changes of rights by other nodes at once; one is not made here", "user", ev.User)
		return
	}
	rt.background.Go(func() {
		defer func() { <-rt.controls.doing }()
		ctx, cancel := context.WithTimeout(context.WithValue(rt.running, obligedKey{}, true), askTime)
		defer cancel()
		err := do(ctx, ev.User)
		if err == nil {
			err = rt.tell(ctx, tellDone, ev.Key, ev.User)
		}
		if err != nil && !errors.Is(err, ErrClosed) && rt.running.Err() == nil {
			rt.log.Error("realtime: a change of rights by another node is not confirmed", "user", ev.User, "error", err)
		}
	})
}
