package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/handle/deadletters"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
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
	inner  *handle.Group
	tracer Tracer // nil: none
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
	// failed. It may be called concurrently, and block until its context ends. Default:
	// the error is logged.
	DeadLetter func(context.Context, DeadLetter)

	// Missed is called when events were lost before the group has handled them: the
	// group lagged by more than the history, or the backend lost them. In a cluster
	// several nodes may be told of one loss. It may be called concurrently, and must not
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

// forHandle returns the options as package handle takes them.
func (o GroupOptions) forHandle() handle.Options {
	opts := handle.Options{
		Concurrency: o.Concurrency, Attempts: o.Attempts, Backoff: o.Backoff, MaxBackoff: o.MaxBackoff, Timeout: o.Timeout,
		Final:   func(err error) bool { return errors.Is(err, ErrPermanent) || errors.Is(err, ErrLoop) },
		Context: delivering,
	}
	if f := o.DeadLetter; f != nil {
		opts.DeadLetter = func(ctx context.Context, d handle.Delivery, err error) {
			f(ctx, deadLetter(d, err))
		}
	}
	if f := o.Missed; f != nil {
		opts.Missed = func(reason string) { f(&ResetError{reason}) }
	}
	return opts
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
// [ErrBadGroup] and [ErrClosed]; and an error if register is nil.
func (rt *Realtime) Group(name string, opts *GroupOptions, register func(*Group) error) error {
	if !wire.ValidChannel(name) {
		return fmt.Errorf("%w: name %s: %s", ErrBadGroup, wire.Quote(name), wire.NameFault(name))
	}
	if register == nil {
		return errors.New("realtime: the function that registers the handlers of a group is nil")
	}
	var o GroupOptions
	if opts != nil {
		o = *opts
	}
	if err := o.check("GroupOptions"); err != nil {
		return err
	}
	g := &Group{rt.groups.New(name, o.or(rt.opts.Groups).forHandle()), rt.opts.Tracer}
	if err := register(g); err != nil {
		return err
	}
	return groupError(name, rt.groups.Launch(g.inner))
}

// groupError translates the errors of groups.
func groupError(name string, err error) error {
	switch err {
	case handle.ErrClosed:
		return ErrClosed
	case handle.ErrTaken:
		return fmt.Errorf("%w: %s is taken", ErrBadGroup, wire.Quote(name))
	default:
		return err
	}
}

// local registers handlers in the group of this process.
func (rt *Realtime) local(register func(*Group) error) error {
	return groupError("", rt.groups.Own(rt.opts.Groups.forHandle(), func(g *handle.Group) error {
		return register(&Group{g, rt.opts.Tracer})
	}))
}

// add adds a handler; err is the error of its rule.
func (g *Group) add(r match.Rule, f EventHandler, err error) error {
	if err != nil {
		return err
	}
	if f == nil {
		return errors.New("realtime: a handler is nil")
	}
	if g.inner.Add(r, func(ctx context.Context, d handle.Delivery) error { return g.call(ctx, f, d) }) != nil {
		return ErrClosed
	}
	return nil
}

// Delivery describes one call of a handler.
type Delivery struct {
	Group   string // "" for the handlers registered on the Realtime
	Cursor  Cursor // names the event: it is the same in every attempt, and differs from those of other events
	Attempt int    // 1, 2, …
}

type deliveryKey struct{}

// DeliveryOf returns the delivery for which a handler was called with ctx. ok is false
// if ctx is not that of a handler.
func DeliveryOf(ctx context.Context) (d Delivery, ok bool) {
	d, ok = ctx.Value(deliveryKey{}).(Delivery)
	return d, ok
}

func delivery(d handle.Delivery) Delivery {
	return Delivery{Group: d.Group, Cursor: Cursor(wire.Cursor(d.Pos)), Attempt: d.Attempt}
}

// delivering returns the context of a call of a handler.
func delivering(ctx context.Context, d handle.Delivery) context.Context {
	ctx = context.WithValue(ctx, depthKey{}, d.Depth+1)
	return context.WithValue(ctx, deliveryKey{}, delivery(d))
}

// DeadLetter is an event that was not handled.
type DeadLetter struct {
	Event    RenEvent
	Delivery Delivery // the last one
	// Handler tells which of the group's handlers it was, in the order in which they were
	// registered: 0, 1, …
	Handler int
	Err     error // of the last attempt
}

func deadLetter(d handle.Delivery, err error) DeadLetter {
	return DeadLetter{Event: RenEvent(*d.Event), Delivery: delivery(d), Handler: d.Handler, Err: err}
}

// DeadLetters returns the newest events that handlers on this node have given up, at
// most 100, the newest first, without their data. They have been handed to
// [GroupOptions].DeadLetter, or logged. [Realtime.RetryDeadLetter] hands one to its handler
// once more; one that is handled then is no longer listed.
func (rt *Realtime) DeadLetters() []DeadLetter {
	var list []DeadLetter
	for _, l := range rt.deadLetters.All() {
		list = append(list, deadLetter(l.Delivery, l.Err))
	}
	return list
}

// RetryDeadLetter hands an event that a group has given up to the same handler once more,
// on the node that holds the group, whichever node is asked. It returns nil when the
// handler has. Of the letter it reads Delivery and Handler only, so a letter may come from
// [Realtime.DeadLetters], or from what [GroupOptions].DeadLetter has kept; the
// processes must register the group's handlers in the same order.
//
// The event is read from the history, or from what the backend still has. It waits its
// turn: events of one channel or key are handled one after another, and Concurrency
// counts it. The progress of the group stays as it is. The handler gets
// [GroupOptions].Timeout and one attempt, whose number is the letter's plus one; if it
// fails, [GroupOptions].DeadLetter is not called again. It is not called if ctx has ended
// by then.
//
// If ctx has no deadline, RetryDeadLetter takes at most a minute. Errors:
// [ErrHandlerFailed], with what the handler has returned (on a backend of several processes, its text);
// [ErrGone] if the event is no longer in the log; [ErrBadGroup] if there is no such group,
// or the group has no such handler of this event; [ErrBadOption] if the letter names no
// event; [ErrTemporary] if this event is being retried, or 16 others of the group are, or
// the backend did not answer: the handler was not called. [ErrClosed], and that of ctx:
// the handler may still be called, or run.
func (rt *Realtime) RetryDeadLetter(ctx context.Context, letter DeadLetter) error {
	d := letter.Delivery
	if _, ok := wire.ParseCursor(string(d.Cursor)); !ok {
		return fmt.Errorf("%w: the dead letter names no event", ErrBadOption)
	}
	return rt.retries.Retry(ctx, deadletters.Request{Group: d.Group, Cursor: string(d.Cursor), Handler: letter.Handler, Attempt: d.Attempt + 1})
}

func (rt *Realtime) newRetries() *deadletters.Retries {
	node := deadletters.Node{
		Groups: rt.groups, Process: rt.groups.OwnName(), Logger: rt.log,
		Ask: func(ctx context.Context, what string, question json.RawMessage) (json.RawMessage, error) {
			return rt.control.Ask(ctx, what, question)
		},
		Ending: rt.publisher.IsEnded, Running: rt.running,
	}
	if !rt.alone() {
		node.Holder = func(ctx context.Context, group string) (string, bool, error) {
			holder, known, err := handle.Holder(ctx, rt.backend, group)
			return holder, known, bounded.Public(err)
		}
	}
	return deadletters.NewRetries(node, &rt.deadLetters)
}
