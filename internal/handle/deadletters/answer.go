package deadletters

import (
	"context"
	"errors"
	"fmt"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Errors of retries.
var (
	// ErrFailed: the handler has failed again.
	ErrFailed = errors.New("realtime: the handler failed again")
	// ErrGone: the event is no longer in the log.
	ErrGone = errors.New("realtime: the event is no longer in the log")
)

// Ask is the type of the control record that asks the holder of a group for a retry.
const Ask = "$retry"

// question is what a node asks the others.
type question struct {
	Request
	Within int64 `json:"within"` // milliseconds
}

// answer is what all nodes are told by the one that holds the group.
type answer struct {
	Request
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
	cause   error  // Error, on the node that answers
}

// The outcomes of a retry.
const (
	handled = "handled"
	failed  = "failed"
	gone    = "gone"
	unknown = "handler" // there is no such handler
	busy    = "busy"    // the handler was not called
	lost    = "held"    // the node has lost the group
	late    = "late"    // the handler did not answer in time
)

// answerTo says what has become of a retry, which has returned err.
func answerTo(ctx context.Context, r Request, err error) answer {
	said := answer{Request: r, Outcome: busy}
	var again *handle.FailedError
	switch {
	case err == nil:
		said.Outcome = handled
	case errors.As(err, &again):
		said.Outcome, err = failed, again.Err
	case errors.Is(err, handle.ErrGone):
		said.Outcome = gone
	case errors.Is(err, handle.ErrNoHandler):
		said.Outcome = unknown
	case errors.Is(err, handle.ErrHeld):
		said.Outcome = lost
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		said.Outcome = late
	}
	if err != nil {
		said.cause, said.Error = err, wire.Clip(err.Error())
	}
	return said
}

// err returns the error of Retry.
func (a *answer) err() error {
	cause := a.cause
	if cause == nil {
		cause = errors.New(a.Error)
	}
	switch a.Outcome {
	case handled:
		return nil
	case failed:
		return fault.Errorf("%w: %w", ErrFailed, cause)
	case gone:
		return ErrGone
	case unknown:
		return fmt.Errorf("%w: %s has no handler %d of this event", handle.ErrBadGroup, wire.Quote(a.Group), a.Handler)
	case lost:
		return handle.ErrHeld
	case late:
		if a.cause == nil {
			cause = context.DeadlineExceeded // of the node that answers
		}
		return fault.Errorf("realtime: the handler has not answered in time: %w", cause)
	}
	return fault.Errorf("%w: %w", bounded.ErrTemporary, cause)
}
