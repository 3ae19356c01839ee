package memlink

import (
	"context"
	"iter"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
)

// Node is the backend of one node of a cluster. The nodes share the engine, and Close
// does not close it. The methods may be called concurrently.
type Node struct {
	engine backend.Backend
	life   context.Context // until it is killed or closed
	kill   context.CancelFunc
	open   context.Context // until it is closed
	close  context.CancelFunc
	late   sync.WaitGroup // what may outlive calls

	// Cable is the network: while it is cut, requests and answers are lost.
	Cable Link
	// Process is the node itself: while it is cut, the node stands still. Requests and
	// answers wait, and are carried out later even if their callers have given up.
	Process Link
}

var _ backend.Backend = (*Node)(nil)

// NewNode returns the backend of one more node.
func NewNode(engine backend.Backend) *Node {
	n := &Node{engine: engine}
	n.open, n.close = context.WithCancel(context.Background())
	n.life, n.kill = context.WithCancel(n.open)
	return n
}

// Kill ends the node for good: no request of it reaches the engine from now on. Its
// calls fail at once, except Follow, which waits and delivers nothing.
func (n *Node) Kill() { n.kill() }

// Alive reports whether the node was not killed.
func (n *Node) Alive() bool { return n.life.Err() == nil }

// Close implements [backend.Backend]. It waits until no request of the node is on its
// way.
func (n *Node) Close(context.Context) error {
	n.close()
	n.late.Wait()
	return nil
}

// request is a request to the engine.
func request[T any](ctx context.Context, n *Node, changes bool, do func(context.Context) (T, error)) (value T, err error) {
	if !n.Alive() {
		return value, backend.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.life, cancel)()
	return Call(ctx, &n.late, changes, func(answer func(T, error)) {
		if n.Process.Wait(n.life) != nil || n.Cable.Down() {
			return
		}
		value, err := do(n.life)
		if n.Process.Wait(n.life) == nil && !n.Cable.Down() {
			answer(value, err)
		}
	})
}

// Append implements [backend.Log].
func (n *Node) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	return request(ctx, n, true, func(ctx context.Context) (backend.Position, error) { return n.engine.Append(ctx, e) })
}

// Read implements [backend.Log].
func (n *Node) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	return request(ctx, n, false, func(ctx context.Context) (backend.Page, error) { return n.engine.Read(ctx, after, limit) })
}

// Follow implements [backend.Log].
func (n *Node) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	living, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.life, cancel)()
	for {
		_ = n.Process.Wait(living) // follow ends at once if one is down, or living has ended
		_ = n.Cable.Wait(living)
		broken, err := n.follow(living, after, func(recs []backend.Record) {
			after = recs[len(recs)-1].Pos
			sink(recs)
		})
		switch {
		case !n.Alive():
			return n.silence(ctx)
		case ctx.Err() != nil || !broken:
			return err
		}
	}
}

// silence waits until ctx ends or the node is closed: a dead node follows nothing.
func (n *Node) silence(ctx context.Context) error {
	select {
	case <-n.open.Done():
		return backend.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow follows the engine until a link is cut; then broken is true.
func (n *Node) follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) (broken bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	process, cable := n.Process.Up(), n.Cable.Up()
	defer context.AfterFunc(process, cancel)()
	defer context.AfterFunc(cable, cancel)()
	err = n.engine.Follow(ctx, after, func(recs []backend.Record) {
		if process.Err() == nil && cable.Err() == nil && n.Alive() {
			sink(recs)
		}
	})
	return process.Err() != nil || cable.Err() != nil, err
}

// Get implements [backend.Store].
func (n *Node) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	return request(ctx, n, false, func(ctx context.Context) (backend.Item, error) { return n.engine.Get(ctx, k) })
}

// List implements [backend.Store].
func (n *Node) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		items, err := request(ctx, n, false, func(ctx context.Context) (items []backend.Item, err error) {
			for it, err := range n.engine.List(ctx, kind, group) {
				if err != nil {
					return nil, err
				}
				items = append(items, it)
			}
			return items, nil
		})
		if err != nil {
			yield(backend.Item{}, err)
			return
		}
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// Put implements [backend.Store].
func (n *Node) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	return request(ctx, n, true, func(ctx context.Context) (backend.Revision, error) { return n.engine.Put(ctx, w) })
}

// Delete implements [backend.Store].
func (n *Node) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	_, err := request(ctx, n, true, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, n.engine.Delete(ctx, k, rev, e)
	})
	return err
}
