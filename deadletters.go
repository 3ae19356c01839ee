package realtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/maravilla-realtime/realtime/internal/dead"
	"github.com/maravilla-realtime/realtime/internal/engine"
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

// DeadLetters returns the newest events that handlers on this node have given up, at
// most 100, the newest first, without their data. They have been handed to
// [GroupOptions].DeadLetter, or logged. [Realtime.RetryDeadLetter] hands one to its handler
// once more; one that is handled then is no longer listed.
func (rt *Realtime) DeadLetters() []DeadLetter {
	var list []DeadLetter
	for _, l := range rt.dead.All() {
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
	return rt.retries.Retry(ctx, dead.Request{Group: d.Group, Cursor: string(d.Cursor), Handler: letter.Handler, Attempt: d.Attempt + 1})
}

func (rt *Realtime) newRetries() *dead.Retries {
	node := dead.Node{
		Groups: rt.groups, Process: rt.groups.OwnName(), Logger: rt.log,
		Ask: func(ctx context.Context, what string, question json.RawMessage) (json.RawMessage, error) {
			return rt.control.Ask(ctx, what, question)
		},
		Ending: rt.publisher.IsEnded, Running: rt.running, Closed: ErrClosed,
	}
	if !rt.alone() {
		node.Holder = func(ctx context.Context, group string) (string, bool, error) {
			holder, known, err := handle.Holder(ctx, rt.backend, group)
			return holder, known, engine.Public(err)
		}
	}
	return dead.NewRetries(node, &rt.dead)
}
