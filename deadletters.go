package realtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/engine"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

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

// deadLetters are the newest events that handlers of a node have given up.
type deadLetters struct {
	mu  sync.Mutex
	all []DeadLetter // the newest last
}

// maxDead bounds the dead letters that are remembered.
const maxDead = 100

// DeadLetters returns the newest events that handlers on this node have given up, at
// most 100, the newest first, without their data. They have been handed to
// [GroupOptions].DeadLetter, or logged. [Realtime.RetryDeadLetter] hands one to its handler
// once more; one that is handled then is no longer listed.
func (rt *Realtime) DeadLetters() []DeadLetter {
	rt.dead.mu.Lock()
	defer rt.dead.mu.Unlock()
	list := slices.Clone(rt.dead.all)
	slices.Reverse(list)
	return list
}

func (d *deadLetters) add(letter DeadLetter) {
	letter.Event.Data = nil // it may be large
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.find(letter.Delivery.Group, letter.Delivery.Cursor, letter.Handler); i >= 0 {
		d.all = slices.Delete(d.all, i, i+1) // the group's progress was lost, and the event handled again
	}
	if len(d.all) == maxDead {
		d.all = slices.Delete(d.all, 0, 1)
	}
	d.all = append(d.all, letter)
}

// find returns the place of a letter, or -1. The caller holds mu.
func (d *deadLetters) find(group string, at Cursor, handler int) int {
	return slices.IndexFunc(d.all, func(l DeadLetter) bool {
		return l.Delivery.Group == group && l.Delivery.Cursor == at && l.Handler == handler
	})
}

// retried notes what has become of a letter that was retried, on whichever node.
func (d *deadLetters) retried(a retryAnswer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.find(a.Group, a.Cursor, a.Handler)
	switch {
	case i < 0:
	case a.Outcome == retryHandled:
		d.all = slices.Delete(d.all, i, i+1)
	case a.Outcome == retryFailed:
		d.all[i].Delivery.Attempt, d.all[i].Err = a.Attempt, errors.New(a.Error)
	}
}

// retryTime is the time for a retry if its caller sets no deadline.
const retryTime = time.Minute

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
	ask := retryAsk{letter.Delivery.Group, letter.Delivery.Cursor, letter.Handler, letter.Delivery.Attempt + 1, 0}
	if _, ok := wire.ParseCursor(string(ask.Cursor)); !ok {
		return fmt.Errorf("%w: the dead letter names no event", ErrBadOption)
	}
	ctx, cancel := engine.Within(ctx, retryTime)
	defer cancel()
	for {
		err := rt.retryOnce(ctx, ask)
		if !errors.Is(err, handle.ErrHeld) {
			return err
		}
		select { // the group changes hands
		case <-time.After(retryAgain):
		case <-ctx.Done():
			return fault.Errorf("realtime: no node holds the group: %w", ctx.Err())
		case <-rt.running.Done():
			return ErrClosed
		}
	}
}

// retryAgain is the wait while no node holds the group.
const retryAgain = 500 * time.Millisecond

// retryOnce retries once, here or on the node that holds the group. The error is
// [handle.ErrHeld] if none does.
func (rt *Realtime) retryOnce(ctx context.Context, ask retryAsk) error {
	if rt.byHandlers.IsClosed() {
		return ErrClosed
	}
	if rt.alone() {
		if !rt.groups.Has(rt.groupName(ask.Group)) {
			return fmt.Errorf("%w: there is no group %s", ErrBadGroup, wire.Quote(ask.Group))
		}
		said := rt.retryHere(ctx, ask)
		rt.dead.retried(said)
		return said.err()
	}
	if !wire.ValidChannel(ask.Group) {
		return fmt.Errorf("%w: name %s: %s", ErrBadGroup, wire.Quote(ask.Group), wire.NameFault(ask.Group))
	}
	holder, err := rt.holderOf(ctx, ask.Group)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	ask.Within = time.Until(deadline).Milliseconds()
	question, _ := json.Marshal(ask) // strings and numbers
	data, err := rt.askHolder(ctx, holder, ask.Group, question)
	if err != nil {
		return err
	}
	var said retryAnswer
	if err := json.Unmarshal(data, &said); err != nil {
		return fault.Errorf("realtime: the answer of the node that holds the group: %w", err)
	}
	return said.err()
}

// askHolder asks the node that holds a group. The error is [handle.ErrHeld] if another
// node takes the group over before there is an answer: the holder has perhaps died.
func (rt *Realtime) askHolder(ctx context.Context, holder, group string, question json.RawMessage) (json.RawMessage, error) {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	moved := false // read after the wait
	watching.Go(func() {
		for {
			select {
			case <-time.After(4 * retryAgain):
			case <-asking.Done():
				return
			}
			if now, err := rt.holderOf(asking, group); err == nil && now != holder {
				moved = true
				cancel()
			}
		}
	})
	data, err := rt.control.Ask(asking, askRetry, question)
	cancel()
	watching.Wait()
	switch {
	case err != nil && moved && ctx.Err() == nil:
		return nil, handle.ErrHeld
	case err != nil && !errors.Is(err, ErrClosed):
		return nil, fault.Errorf("realtime: retry of a dead letter: %w", err)
	}
	return data, err
}

// holderOf returns the node that holds a group. The error is [handle.ErrHeld] if none does.
func (rt *Realtime) holderOf(ctx context.Context, group string) (string, error) {
	holder, known, err := handle.Holder(ctx, rt.backend, group)
	switch {
	case err != nil:
		return "", publicError(err)
	case !known:
		return "", fmt.Errorf("%w: there is no group %s", ErrBadGroup, wire.Quote(group))
	case holder == "":
		return "", handle.ErrHeld
	}
	return holder, nil
}

// groupName returns the name of a group in the engine, given its public one.
func (rt *Realtime) groupName(public string) string { return cmp.Or(public, processGroupName+rt.node) }

// askRetry is the type of the control record that asks the holder of a group for a retry.
const askRetry = "$retry"

// retryAsk is what a node asks the others.
type retryAsk struct {
	Group   string `json:"group"`
	Cursor  Cursor `json:"cursor"`
	Handler int    `json:"handler"`
	Attempt int    `json:"attempt"`
	Within  int64  `json:"within"` // milliseconds
}

// retryAnswer is what all nodes are told by the one that holds the group.
type retryAnswer struct {
	retryAsk
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
	cause   error  // Error, on the node that answers
}

// The outcomes of a retry.
const (
	retryHandled = "handled"
	retryFailed  = "failed"
	retryGone    = "gone"
	retryUnknown = "handler" // there is no such handler
	retryBusy    = "busy"    // the handler was not called
	retryLost    = "held"    // the node has lost the group
	retryLate    = "late"    // the handler did not answer in time
)

// err returns the error of RetryDeadLetter.
func (a *retryAnswer) err() error {
	cause := a.cause
	if cause == nil {
		cause = errors.New(a.Error)
	}
	switch a.Outcome {
	case retryHandled:
		return nil
	case retryFailed:
		return fault.Errorf("%w: %w", ErrHandlerFailed, cause)
	case retryGone:
		return ErrGone
	case retryUnknown:
		return fmt.Errorf("%w: %s has no handler %d of this event", ErrBadGroup, wire.Quote(a.Group), a.Handler)
	case retryLost:
		return handle.ErrHeld
	case retryLate:
		if a.cause == nil {
			cause = context.DeadlineExceeded // of the node that answers
		}
		return fault.Errorf("realtime: the handler has not answered in time: %w", cause)
	}
	return fault.Errorf("%w: %w", ErrTemporary, cause)
}

// retryHere retries on this node, if it holds the group.
func (rt *Realtime) retryHere(ctx context.Context, ask retryAsk) retryAnswer {
	pos, _ := wire.ParseCursor(string(ask.Cursor)) // zero is in no log
	err := rt.groups.Retry(ctx, rt.groupName(ask.Group), handle.Again{Pos: pos, Handler: ask.Handler, Attempt: ask.Attempt})
	said := retryAnswer{retryAsk: ask, Outcome: retryBusy}
	var failed *handle.FailedError
	switch {
	case err == nil:
		said.Outcome = retryHandled
	case errors.As(err, &failed):
		said.Outcome, err = retryFailed, failed.Err
	case errors.Is(err, handle.ErrGone):
		said.Outcome = retryGone
	case errors.Is(err, handle.ErrNoHandler):
		said.Outcome = retryUnknown
	case errors.Is(err, handle.ErrHeld):
		said.Outcome = retryLost
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		said.Outcome = retryLate
	}
	if err != nil {
		said.cause, said.Error = err, wire.Clip(err.Error())
	}
	rt.log.Info("realtime: a dead letter was retried", "group", ask.Group, "cursor", ask.Cursor, "outcome", said.Outcome, "error", said.Error)
	return said
}

// takeRetry returns what answers the request of another node, if this one holds the group.
func (rt *Realtime) takeRetry(question json.RawMessage) func(context.Context) json.RawMessage {
	var ask retryAsk
	if json.Unmarshal(question, &ask) != nil || !rt.groups.Holds(rt.groupName(ask.Group)) {
		return nil
	}
	return func(ctx context.Context) json.RawMessage {
		ctx, cancel := context.WithTimeout(ctx, min(time.Duration(ask.Within)*time.Millisecond, maxRetryTime))
		defer cancel()
		said, _ := json.Marshal(rt.retryHere(ctx, ask)) // strings and numbers
		return said
	}
}

// maxRetryTime bounds the time that a node waits for a handler at the request of another.
const maxRetryTime = 10 * time.Minute

// heardRetry is told what has become of a retry on any node.
func (rt *Realtime) heardRetry(answer json.RawMessage) {
	var said retryAnswer
	if json.Unmarshal(answer, &said) == nil {
		rt.dead.retried(said)
	}
}
