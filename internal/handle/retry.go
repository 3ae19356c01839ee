package handle

import (
	"context"
	"errors"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
)

// Errors of [Groups.Retry], beside [ErrHeld], [ErrClosed] and those of ctx.
var (
	ErrGone      = errors.New("handle: the log no longer has the record")
	ErrNoHandler = errors.New("handle: the group has no such handler of this event")
	ErrBusy      = errors.New("handle: the event is being retried, or too many others are")
)

// FailedError is what a handler has returned that was called by [Groups.Retry].
type FailedError struct{ Err error }

func (e *FailedError) Error() string { return e.Err.Error() }

func (e *FailedError) Unwrap() error { return e.Err }

// Again says which handler is to get which event once more.
type Again struct {
	Pos     backend.Position
	Handler int // see [Delivery]
	Attempt int // of the call
}

// maxRetries bounds the calls of [Groups.Retry] under way in one group.
const maxRetries = 16

// retry is an Again under way. Its task stands in a lane, with those of the same key.
type retry struct {
	Again
	ctx  context.Context // of who waits for it: the handler is not called after its end
	e    *backend.Logged
	done chan error // holds one
	over bool       // the handler was called; of the task's goroutine
}

// Has reports whether there is a group of this name on this node.
func (gs *Groups) Has(name string) bool { return gs.group(name) != nil }

// Holds reports whether this node holds a group. It does not block.
func (gs *Groups) Holds(name string) bool {
	g := gs.group(name)
	return g != nil && g.held() != nil
}

func (gs *Groups) group(name string) *Group {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.named[name]
}

// Retry calls one handler of a group, which this node must hold, for one event once
// more, in the lane of its key. It returns nil when the handler has. If ctx ends first,
// the handler may still run, and is not called if it has not begun. Errors: [ErrHeld] if
// the node does not hold the group, or no longer; then the handler may have run.
func (gs *Groups) Retry(ctx context.Context, name string, a Again) error {
	g := gs.group(name)
	if g == nil {
		return ErrHeld
	}
	h := g.held()
	if h == nil {
		return ErrHeld
	}
	e, err := g.event(ctx, a.Pos)
	if err != nil {
		return err
	}
	handler := g.handler(&e.Event, a.Handler)
	if handler == nil {
		return ErrNoHandler
	}
	return h.retry(&retry{Again: a, ctx: ctx, e: e, done: make(chan error, 1)}, handler)
}

// event returns the event at pos, from the history or else from the log, which may
// reach back further.
func (g *Group) event(ctx context.Context, pos backend.Position) (*backend.Logged, error) {
	if e, _ := g.node.Ring.At(pos); e != nil {
		return &e.Logged, nil
	}
	if pos.Seq == 0 {
		return nil, ErrGone
	}
	page, err := g.node.Log.Read(ctx, backend.Position{Epoch: pos.Epoch, Seq: pos.Seq - 1}, 1)
	if err != nil {
		return nil, err
	}
	if len(page.Records) == 0 || page.Records[0].Pos != pos {
		return nil, ErrGone
	}
	p, err := backend.DecodePayload(page.Records[0].Data)
	if err != nil {
		return nil, fault.Errorf("%w: %w", ErrGone, err)
	}
	return &backend.Logged{Pos: pos, Event: p.Event, Depth: p.Depth, Trace: p.Trace}, nil
}

// handler returns the handler of a number, if it is for the event.
func (g *Group) handler(ev *backend.Event, number int) *handler {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, h := range g.index.Find(ev) {
		if h.number == number {
			return h
		}
	}
	return nil
}

// retry puts a task into the lane of its event, and waits for its outcome.
func (h *hold) retry(r *retry, to *handler) error {
	h.mu.Lock()
	_, twice := h.retries[r.id()]
	if twice || len(h.retries) == maxRetries {
		h.mu.Unlock()
		return ErrBusy
	}
	h.retries[r.id()] = struct{}{}
	h.mu.Unlock()
	h.lanes.Add(orderKey(&r.e.Event), &task{pos: r.Pos, handlers: []*handler{to}, again: r})
	select {
	case err := <-r.done:
		return err
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-h.ctx.Done():
		return ErrHeld
	}
}

// retryID names what must not be retried twice at a time.
type retryID struct {
	pos     backend.Position
	handler int
}

func (r *retry) id() retryID { return retryID{r.Pos, r.Handler} }

// again calls the handler of a retry, if somebody still waits for the outcome.
func (h *hold) again(t *task) {
	r := t.again
	if r.over { // the handler has ended its goroutine, and the lanes run the task again
		return
	}
	var err error = &FailedError{errGoexit} // unless the handler returns
	defer func() {
		h.mu.Lock()
		delete(h.retries, r.id())
		h.mu.Unlock()
		r.done <- err
	}()
	switch {
	case r.ctx.Err() != nil:
		err = r.ctx.Err()
		return
	case h.isEnding():
		err = ErrHeld
		return
	}
	r.over = true
	d := h.g.delivery(r.e, t.handlers[0], r.Attempt)
	if err = h.call(h.g.opts.Context(h.ctx, d), t.handlers[0].handle, d); err != nil {
		err = &FailedError{err}
	}
}
