package realtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/lanes"
	"github.com/maravilla-realtime/realtime/internal/progress"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// maxDepth is how many handlers may react to each other in a row.
const maxDepth = 8

type depthKey struct{}

// depth returns how many handlers in a row led to what ctx is used for.
func depth(ctx context.Context) int {
	n, _ := ctx.Value(depthKey{}).(int)
	return n
}

type deliveryKey struct{}

// DeliveryOf returns which delivery the handler that got ctx is called for. ok is
// false where ctx is no handler's.
func DeliveryOf(ctx context.Context) (d Delivery, ok bool) {
	d, ok = ctx.Value(deliveryKey{}).(Delivery)
	return d, ok
}

// shift is a time in which this node holds a group. One goroutine reads the ring
// and hands events to lanes, which call the handlers; another one commits the
// progress and renews the hold. An event waits in its lane as a position only:
// what the ring lets go of is not held here.
type shift struct {
	g       *Group
	ctx     context.Context // ends with the hold
	lose    context.CancelFunc
	over    *time.Timer // calls lose when the hold has run out
	from    backend.Position
	done    map[uint64]struct{} // behind from, from earlier shifts
	failed  map[uint64]int      // behind from, from earlier shifts
	tracker *progress.Tracker
	lanes   *lanes.Lanes[*task]
	unsent  handle.Progress // the keeper's: what could not be committed yet

	mu   sync.Mutex
	gone backend.Position // what was missed up to here has been told
}

// task is one event and the handlers that it is still for.
type task struct {
	pos      backend.Position
	handlers []*handler
	failed   int // attempts of the first of them
}

func newShift(ctx context.Context, g *Group, p handle.Progress) *shift {
	s := &shift{g: g, from: p.Floor, done: make(map[uint64]struct{}), failed: p.Failed}
	if s.from == (backend.Position{}) {
		s.from = g.start
		s.unsent.Floor = s.from // where the group begins is progress, whoever goes on with it
	}
	for _, seq := range p.Done {
		s.done[seq] = struct{}{}
	}
	s.ctx, s.lose = context.WithCancel(ctx)
	s.over = time.AfterFunc(time.Until(g.claim.Until()), s.lose)
	s.tracker = progress.New(s.from)
	s.lanes = lanes.New(g.opts.Concurrency, s.handle)
	return s
}

// run ends with the hold, when no handler runs any more.
func (s *shift) run() {
	var keeping sync.WaitGroup
	keeping.Go(s.keep)
	s.read()
	s.lanes.Close()
	s.lose()
	keeping.Wait()
	if s.over.Stop() { // the hold is still ours
		s.end()
	}
}

// end commits what was done last and gives the group up.
func (s *shift) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Second)
	defer cancel()
	err := s.commit(ctx)
	if err == nil {
		err = s.g.claim.Release(ctx)
	}
	if err != nil && !errors.Is(err, handle.ErrHeld) {
		s.g.rt.log.Warn("realtime: a group of handlers is given up late; some events may be handled again",
			"group", s.g.publicName(), "error", err)
	}
}

// read hands the events of the ring to the lanes.
func (s *shift) read() {
	reader := s.g.rt.ring.NewReader()
	defer reader.Close()
	// Another node, which was further in the log, may have held the group before.
	if s.g.rt.reach(s.ctx, s.from) != nil {
		return
	}
	s.subscribe(reader, s.from)
	var items []ring.Item
	var pos backend.Position
	for more := false; s.ctx.Err() == nil; {
		items, pos, more = reader.Next(items[:0], ring.Batch)
		if len(items) > 0 && items[0].Entry == nil { // resets come first
			reader.Unsubscribe(ring.Topic{})
			s.subscribe(reader, s.restart(items[0].Reason))
			continue
		}
		for _, it := range items {
			if s.ctx.Err() != nil {
				return
			}
			s.take(it)
		}
		s.tracker.Read(pos)
		_, gone := s.g.rt.ring.At(backend.Position{})
		s.tracker.Evict(gone)
		clear(items)
		s.waitForRoom()
		if !more {
			select {
			case <-reader.Wake():
			case <-s.ctx.Done():
			}
		}
	}
}

// waitForRoom waits while more is waiting than the ring can hold.
func (s *shift) waitForRoom() {
	for {
		moved := s.tracker.Advanced()
		if s.tracker.Pending() < s.g.rt.opts.History.Events {
			return
		}
		select {
		case <-moved:
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *shift) take(it ring.Item) {
	seq := it.Pos.Seq
	if _, done := s.done[seq]; done {
		delete(s.done, seq)
		return
	}
	ev := &it.Entry.Event
	handlers := s.g.find(ev, it.Pos)
	if len(handlers) == 0 {
		return
	}
	s.tracker.Begin(it.Pos)
	s.lanes.Add(orderKey(ev), &task{pos: it.Pos, handlers: handlers, failed: s.failed[seq]})
	delete(s.failed, seq)
}

// orderKey names what an event is about: those of one name are handled in order.
func orderKey(ev *backend.Event) string {
	if ev.Channel != "" {
		return ev.Channel
	}
	return ev.Resource + "\x00" + ev.Namespace + "\x00" + ev.Key // no name of a channel
}

// subscribe has reader read from pos, or, where what followed it is lost, from the
// oldest event there is.
func (s *shift) subscribe(reader *ring.Reader, pos backend.Position) {
	for {
		start := reader.Subscribe(&pos, ring.Topic{})
		if start.State != ring.Reset {
			return
		}
		reader.Unsubscribe(ring.Topic{})
		pos = s.restart(start.Reason)
	}
}

// restart says that events were lost, and returns the place behind them. What is
// left of them in the lanes ends without a word.
func (s *shift) restart(why ring.Reason) backend.Position {
	_, gone := s.g.rt.ring.At(backend.Position{})
	if gone.Epoch != s.from.Epoch {
		clear(s.done)
		clear(s.failed)
	}
	s.tracker.Restart(gone)
	s.missed(gone, gone, why)
	return gone
}

// missed tells that the event at pos was missed, and all that left the ring with
// it, up to gone: once of all of them.
func (s *shift) missed(pos, gone backend.Position, why ring.Reason) {
	s.mu.Lock()
	news := pos.Compare(s.gone) > 0
	if news {
		s.gone = gone
	}
	s.mu.Unlock()
	if news {
		s.g.missed(string(why))
	}
}

// handle calls the handlers that a task is for, and returns when to go on with
// it, or 0.
func (s *shift) handle(t *task) time.Duration {
	e, gone := s.g.rt.ring.At(t.pos)
	if e == nil {
		s.missed(t.pos, gone, ring.Evicted)
		s.tracker.Done(t.pos)
		return 0
	}
	for len(t.handlers) > 0 {
		if s.isEnding() {
			return 0 // whoever holds the group next begins with this event
		}
		d := Delivery{Group: s.g.publicName(), Cursor: Cursor(wire.Cursor(t.pos)), Attempt: t.failed + 1}
		ctx := context.WithValue(context.WithValue(s.ctx, depthKey{}, e.Depth+1), deliveryKey{}, d)
		err := s.try(ctx, t, RenEvent(e.Event), d)
		switch {
		case err == nil:
		case s.isEnding():
			return 0 // that is perhaps why it failed
		case d.Attempt < s.g.opts.Attempts && !errors.Is(err, ErrPermanent) && !errors.Is(err, ErrLoop):
			s.g.rt.log.Debug("realtime: a handler failed; trying again", "group", d.Group, "type", e.Event.Type, "attempt", d.Attempt, "error", err)
			t.failed++
			s.tracker.Failed(t.pos, t.failed)
			return s.backoff(t.failed)
		}
		t.next()
		if err != nil {
			s.g.deadLetter(ctx, DeadLetter{RenEvent(e.Event), d, err})
		}
	}
	s.tracker.Done(t.pos)
	return 0
}

// isEnding reports whether the shift is over, or Close accepts nothing more of what
// handlers cause.
func (s *shift) isEnding() bool { return s.ctx.Err() != nil || s.g.rt.inside.isShut() }

// next goes on to the next handler.
func (t *task) next() { t.handlers, t.failed = t.handlers[1:], 0 }

var errGoexit = errors.New("realtime: a handler ended its goroutine")

// try calls the first handler of a task. One that does not return but ends its
// goroutine, as t.FailNow does in a test, has failed for good: the lanes come back
// to the task for those behind it.
func (s *shift) try(ctx context.Context, t *task, ev RenEvent, d Delivery) error {
	returned := false
	defer func() {
		if !returned {
			t.next()
			s.g.deadLetter(ctx, DeadLetter{ev, d, errGoexit})
		}
	}()
	err := s.call(ctx, t.handlers[0].handle, ev)
	returned = true
	return err
}

func (s *shift) backoff(failed int) time.Duration {
	wait := s.g.opts.Backoff
	for range failed - 1 {
		wait = min(2*wait, s.g.opts.MaxBackoff)
	}
	return max(jittered(min(wait, s.g.opts.MaxBackoff)), 1)
}

// call calls a handler. A panic is an error.
func (s *shift) call(ctx context.Context, h EventHandler, ev RenEvent) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.g.opts.Timeout)
	defer cancel()
	if panicked := s.g.guard("handler", func() { err = h(ctx, ev) }); panicked != nil {
		return panicked
	}
	return err
}

// guard calls a function of the host's. If it panics, that is logged, and is the
// error.
func (g *Group) guard(what string, f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			g.rt.log.Error("realtime: panic in a "+what, "group", g.publicName(), "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("realtime: panic in a %s: %v", what, v)
		}
	}()
	f()
	return nil
}

// keep commits the progress and renews the hold until that is lost.
func (s *shift) keep() {
	renew := time.NewTicker(groupLease / 3)
	defer renew.Stop()
	for {
		ctx, cancel := context.WithTimeout(s.ctx, groupLease/3)
		err := s.commit(ctx)
		cancel()
		worked := s.tracker.Changed()
		switch {
		case err == nil, s.ctx.Err() != nil:
		case errors.Is(err, handle.ErrHeld), errors.Is(err, backend.ErrClosed):
			s.lose()
		default: // with the next renewal
			worked = nil
			s.g.rt.log.Error("realtime: the progress of a group of handlers cannot be committed; trying again",
				"group", s.g.publicName(), "error", err)
		}
		select { // first, so that who has waited for both does not choose at random
		case <-renew.C:
			s.renew()
			continue
		default:
		}
		select {
		case <-worked:
		case <-renew.C:
			s.renew()
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *shift) renew() {
	ctx, cancel := context.WithTimeout(s.ctx, groupLease/3)
	defer cancel()
	switch _, err := s.g.claim.Hold(ctx); {
	case err == nil:
		s.over.Reset(time.Until(s.g.claim.Until()))
	case s.ctx.Err() != nil:
	case errors.Is(err, handle.ErrHeld), errors.Is(err, backend.ErrClosed):
		s.lose()
	default: // it runs out by itself
		s.g.rt.log.Error("realtime: the hold of a group of handlers cannot be renewed; trying again",
			"group", s.g.publicName(), "error", err)
	}
}

// commit commits what is new. It is for one goroutine at a time.
func (s *shift) commit(ctx context.Context) error {
	p, any := s.tracker.Delta()
	if s.unsent.Floor.Epoch == p.Floor.Epoch {
		for _, seq := range s.unsent.Done {
			if seq > p.Floor.Seq {
				p.Done = append(p.Done, seq)
			}
		}
		for seq, times := range s.unsent.Failed {
			if seq <= p.Floor.Seq {
				continue
			}
			if p.Failed == nil {
				p.Failed = make(map[uint64]int)
			}
			p.Failed[seq] = max(p.Failed[seq], times)
		}
	}
	if !any && s.unsent.Floor == (backend.Position{}) {
		return nil
	}
	s.unsent = p
	err := s.g.claim.Commit(ctx, p)
	if err == nil {
		s.unsent = handle.Progress{}
		s.over.Reset(time.Until(s.g.claim.Until())) // it renews the hold
	}
	return err
}
