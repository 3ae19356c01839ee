package handle

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle/lanes"
	"github.com/maravilla-realtime/realtime/internal/handle/progress"
	"github.com/maravilla-realtime/realtime/internal/jitter"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
)

// hold is the time in which this node holds a group. One goroutine reads the ring
// and hands events to lanes, which call the handlers; another one commits the
// progress and renews the hold. An event waits in its lane as a position only:
// what the ring lets go of is not held here.
type hold struct {
	g       *Group
	ctx     context.Context // ends with the hold
	lose    context.CancelFunc
	over    *time.Timer // calls lose when the hold has run out
	from    backend.Position
	done    map[uint64]struct{} // after from, by earlier holds
	failed  map[uint64]int      // after from, by earlier holds
	tracker *progress.Tracker
	lanes   *lanes.Lanes[*task]
	unsent  Progress // progress that could not be committed yet; used by keep only

	mu      sync.Mutex
	gone    backend.Position // what was missed up to here has been told
	retries map[retryID]struct{}
}

// task is one event and the handlers that it is still for.
type task struct {
	pos      backend.Position
	handlers []*handler
	failed   int    // attempts of the first of them
	again    *retry // the task is this call only; nil: it is of the ring
}

func newHold(ctx context.Context, g *Group, p Progress) *hold {
	h := &hold{g: g, from: p.Floor, done: make(map[uint64]struct{}), failed: p.Failed, retries: make(map[retryID]struct{})}
	if h.from == (backend.Position{}) {
		h.from = g.start
		h.unsent.Floor = h.from // the beginning of the group is progress, for the node that holds it next
	}
	for _, seq := range p.Done {
		h.done[seq] = struct{}{}
	}
	h.ctx, h.lose = context.WithCancel(ctx)
	h.over = time.AfterFunc(time.Until(g.claim.Until()), h.lose)
	h.tracker = progress.New(h.from)
	h.lanes = lanes.New(g.opts.Concurrency, h.handle)
	return h
}

// run returns when the hold has ended and no handler is running.
func (h *hold) run() {
	var keeping sync.WaitGroup
	keeping.Go(h.keep)
	h.read()
	h.lanes.Close()
	h.lose()
	keeping.Wait()
	if h.over.Stop() { // the hold is still ours
		h.end()
	}
}

// end commits the last progress and releases the group.
func (h *hold) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), time.Second)
	defer cancel()
	err := h.commit(ctx)
	if err == nil {
		err = h.g.claim.Release(ctx)
	}
	if err != nil && !errors.Is(err, ErrHeld) {
		h.g.node.Logger.Warn("realtime: a group of handlers is given up late; some events may be handled again",
			"group", h.g.PublicName(), "error", err)
	}
}

// read passes the events of the ring to the lanes.
func (h *hold) read() {
	reader := h.g.node.Ring.NewReader()
	defer reader.Close()
	// The node that held the group before may have been further in the log.
	if h.g.node.Ring.Wait(h.ctx, h.from) != nil {
		return
	}
	h.subscribe(reader, h.from)
	var items []ring.Item
	var pos backend.Position
	for more := false; h.ctx.Err() == nil; {
		items, pos, more = reader.Next(items[:0], ring.Batch)
		if len(items) > 0 && items[0].Entry == nil { // resets come first
			reader.Unsubscribe(ring.Topic{})
			h.subscribe(reader, h.restart(items[0].Reason))
			continue
		}
		for _, it := range items {
			if h.ctx.Err() != nil {
				return
			}
			h.take(it)
		}
		h.tracker.Read(pos)
		_, gone := h.g.node.Ring.At(backend.Position{})
		h.tracker.Evict(gone)
		clear(items)
		h.waitForRoom()
		if !more {
			select {
			case <-reader.Wake():
			case <-h.ctx.Done():
			}
		}
	}
}

// waitForRoom waits while more events are waiting than the ring can hold.
func (h *hold) waitForRoom() {
	for {
		moved := h.tracker.Advanced()
		if h.tracker.Pending() < h.g.node.Pending {
			return
		}
		select {
		case <-moved:
		case <-h.ctx.Done():
			return
		}
	}
}

func (h *hold) take(it ring.Item) {
	seq := it.Pos.Seq
	if _, done := h.done[seq]; done {
		delete(h.done, seq)
		return
	}
	ev := &it.Entry.Event
	if ev.IsReset() {
		if h.g.handlesIn(ev.Resource) {
			h.g.missed(string(ring.Lost))
		}
		return
	}
	handlers := h.g.find(ev, it.Pos)
	if len(handlers) == 0 {
		return
	}
	h.tracker.Begin(it.Pos)
	h.lanes.Add(orderKey(ev), &task{pos: it.Pos, handlers: handlers, failed: h.failed[seq]})
	delete(h.failed, seq)
}

// orderKey returns the name of the channel or key of an event: events with the same name
// are handled in order.
func orderKey(ev *backend.Event) string {
	if ev.Channel != "" {
		return ev.Channel
	}
	return ev.Resource + "\x00" + ev.Namespace + "\x00" + ev.Key // no name of a channel
}

// subscribe makes reader begin after pos or, if events after it are lost, at the oldest
// event.
func (h *hold) subscribe(reader *ring.Reader, pos backend.Position) {
	for {
		start := reader.Subscribe(&pos, ring.Topic{})
		if start.State != ring.Reset {
			return
		}
		reader.Unsubscribe(ring.Topic{})
		pos = h.restart(start.Reason)
	}
}

// restart reports that events were lost, and returns the place after them. Their tasks
// in the lanes end silently.
func (h *hold) restart(why ring.Reason) backend.Position {
	_, gone := h.g.node.Ring.At(backend.Position{})
	if gone.Epoch != h.from.Epoch {
		clear(h.done)
		clear(h.failed)
	}
	h.tracker.Restart(gone)
	h.missed(gone, gone, why)
	return gone
}

// missed reports, once, that the event at pos was missed, with all others that were
// evicted up to gone.
func (h *hold) missed(pos, gone backend.Position, why ring.Reason) {
	h.mu.Lock()
	news := pos.Compare(h.gone) > 0
	if news {
		h.gone = gone
	}
	h.mu.Unlock()
	if news {
		h.g.missed(string(why))
	}
}

// handle calls the handlers of a task, and returns the wait before its next attempt, or
// 0 if it is done.
func (h *hold) handle(t *task) time.Duration {
	if t.again != nil {
		h.again(t)
		return 0
	}
	e, gone := h.g.node.Ring.At(t.pos)
	if e == nil {
		h.missed(t.pos, gone, ring.Evicted)
		h.tracker.Done(t.pos)
		return 0
	}
	for len(t.handlers) > 0 {
		if h.isEnding() {
			return 0 // the next holder of the group begins with this event
		}
		d := h.g.delivery(&e.Logged, t.handlers[0], t.failed+1)
		ctx := h.g.opts.Context(h.ctx, d)
		err := h.try(ctx, t, d)
		switch {
		case err == nil:
		case h.isEnding():
			return 0 // that is perhaps why it failed
		case d.Attempt < h.g.opts.Attempts && !h.g.opts.Final(err):
			h.g.node.Logger.Debug("realtime: a handler failed; trying again", "group", d.Group, "type", e.Event.Type, "attempt", d.Attempt, "error", err)
			t.failed++
			h.g.tally.retries.Inc()
			h.tracker.Failed(t.pos, t.failed)
			return h.backoff(t.failed)
		}
		t.next()
		if err != nil {
			h.g.deadLetter(ctx, d, err)
		}
	}
	h.tracker.Done(t.pos)
	return 0
}

// isEnding reports whether the hold is over, or events of handlers are refused.
func (h *hold) isEnding() bool { return h.ctx.Err() != nil || h.g.node.Ending() }

// next moves on to the next handler.
func (t *task) next() { t.handlers, t.failed = t.handlers[1:], 0 }

var errGoexit = errors.New("realtime: a handler ended its goroutine")

// try calls the first handler of a task. A handler that ends its goroutine, as t.FailNow
// does in a test, has failed for good. The lanes then run the task again for the
// handlers after it.
func (h *hold) try(ctx context.Context, t *task, d Delivery) error {
	returned := false
	defer func() {
		if !returned {
			t.next()
			h.g.deadLetter(ctx, d, errGoexit)
		}
	}()
	err := h.call(ctx, t.handlers[0].handle, d)
	returned = true
	return err
}

func (h *hold) backoff(failed int) time.Duration {
	wait := h.g.opts.Backoff
	for range failed - 1 {
		wait = min(2*wait, h.g.opts.MaxBackoff)
	}
	return max(jitter.Half(min(wait, h.g.opts.MaxBackoff)), 1)
}

// call calls a handler. A panic is an error.
func (h *hold) call(ctx context.Context, f Handler, d Delivery) error {
	ctx, cancel := context.WithTimeout(ctx, h.g.opts.Timeout)
	defer cancel()
	defer h.g.tally.called(time.Now())
	return h.g.guard("handler", func() error { return f(ctx, d) })
}

// keep commits the progress and renews the hold until the hold is lost.
func (h *hold) keep() {
	renew := time.NewTicker(groupLease / 3)
	defer renew.Stop()
	// At first only where a new group begins is news, not what is being read meanwhile.
	for news := h.unsent.Floor != (backend.Position{}); ; news = true {
		var err error
		if news {
			ctx, cancel := context.WithTimeout(h.ctx, groupLease/3)
			err = h.commit(ctx)
			cancel()
		}
		worked := h.tracker.Changed()
		switch {
		case err == nil, h.ctx.Err() != nil:
		case errors.Is(err, ErrHeld), errors.Is(err, backend.ErrClosed):
			h.lose()
		default: // with the next renewal
			worked = nil
			h.g.node.Logger.Error("realtime: the progress of a group of handlers cannot be committed; trying again",
				"group", h.g.PublicName(), "error", err)
		}
		select { // first, so that who has waited for both does not choose at random
		case <-renew.C:
			h.renew()
			continue
		default:
		}
		select {
		case <-worked:
		case <-renew.C:
			h.renew()
		case <-h.ctx.Done():
			return
		}
	}
}

func (h *hold) renew() {
	ctx, cancel := context.WithTimeout(h.ctx, groupLease/3)
	defer cancel()
	switch _, err := h.g.claim.Hold(ctx); {
	case err == nil:
		h.over.Reset(time.Until(h.g.claim.Until()))
	case h.ctx.Err() != nil:
	case errors.Is(err, ErrHeld), errors.Is(err, backend.ErrClosed):
		h.lose()
	default: // it runs out by itself
		h.g.node.Logger.Error("realtime: the hold of a group of handlers cannot be renewed; trying again",
			"group", h.g.PublicName(), "error", err)
	}
}

// commit commits the new progress. It must not be called concurrently.
func (h *hold) commit(ctx context.Context) error {
	p, any := h.tracker.Delta()
	if h.unsent.Floor.Epoch == p.Floor.Epoch {
		for _, seq := range h.unsent.Done {
			if seq > p.Floor.Seq {
				p.Done = append(p.Done, seq)
			}
		}
		for seq, times := range h.unsent.Failed {
			if seq <= p.Floor.Seq {
				continue
			}
			if p.Failed == nil {
				p.Failed = make(map[uint64]int)
			}
			p.Failed[seq] = max(p.Failed[seq], times)
		}
	}
	if !any && h.unsent.Floor == (backend.Position{}) {
		return nil
	}
	h.unsent = p
	err := h.g.claim.Commit(ctx, p)
	if err == nil {
		h.unsent = Progress{}
		h.over.Reset(time.Until(h.g.claim.Until())) // it renews the hold
	}
	return err
}
