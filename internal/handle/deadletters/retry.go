package deadletters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/control"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Node is what retries use of their node.
type Node struct {
	Groups  *handle.Groups
	Process string // the name that package handle has for the group whose public name is ""
	// Holder returns the node that holds a group, as [handle.Holder] does, with public
	// errors. Nil where the backend serves this process only.
	Holder func(ctx context.Context, group string) (node string, known bool, err error)
	// Ask has the node that holds the group answer: see [control.Control.Ask].
	Ask     func(ctx context.Context, what string, question json.RawMessage) (json.RawMessage, error)
	Ending  func() bool     // whether handlers are no longer called
	Running context.Context // ends when the node ends
	Logger  *slog.Logger
}

// Retries hands letters to their handlers once more. Its methods may be called
// concurrently.
type Retries struct {
	node    Node
	letters *List
}

// NewRetries returns the retries of a node, which strike letters off a list.
func NewRetries(node Node, letters *List) *Retries { return &Retries{node, letters} }

// Request names the call of a handler that is to be repeated.
type Request struct {
	Group   string `json:"group"`
	Cursor  string `json:"cursor"` // of the event
	Handler int    `json:"handler"`
	Attempt int    `json:"attempt"` // the number of the new call
}

// retryTime is the time for a retry if its caller sets no deadline.
const retryTime = time.Minute

// Retry repeats a call, on the node that holds the group. It returns nil when the handler
// has. It may block as long as ctx, and for a minute if ctx has no deadline. Errors:
// [ErrFailed], [ErrGone], [handle.ErrBadGroup], [bounded.ErrTemporary], that of a closed
// node, and that of ctx.
func (rs *Retries) Retry(ctx context.Context, r Request) error {
	ctx, cancel := bounded.Within(ctx, retryTime)
	defer cancel()
	for {
		err := rs.once(ctx, r)
		if !errors.Is(err, handle.ErrHeld) {
			return err
		}
		select { // the group changes hands
		case <-time.After(retryAgain):
		case <-ctx.Done():
			return fault.Errorf("realtime: no node holds the group: %w", ctx.Err())
		case <-rs.node.Running.Done():
			return bounded.ErrClosed
		}
	}
}

// retryAgain is the wait while no node holds the group.
const retryAgain = 500 * time.Millisecond

// once retries once, here or on the node that holds the group. The error is
// [handle.ErrHeld] if none does.
func (rs *Retries) once(ctx context.Context, r Request) error {
	if rs.node.Ending() {
		return bounded.ErrClosed
	}
	if rs.node.Holder == nil {
		if !rs.node.Groups.Has(rs.innerName(r.Group)) {
			return noGroup(r.Group)
		}
		said := rs.here(ctx, r)
		rs.letters.retried(said)
		return said.err()
	}
	if !wire.ValidChannel(r.Group) {
		return fmt.Errorf("%w: name %s: %s", handle.ErrBadGroup, wire.Quote(r.Group), wire.NameFault(r.Group))
	}
	holder, err := rs.holder(ctx, r.Group)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	asked, _ := json.Marshal(question{r, time.Until(deadline).Milliseconds()}) // strings and numbers
	data, err := rs.ask(ctx, holder, r.Group, asked)
	if err != nil {
		return err
	}
	var said answer
	if err := json.Unmarshal(data, &said); err != nil {
		return fault.Errorf("realtime: the answer of the node that holds the group: %w", err)
	}
	return said.err()
}

// ask asks the node that holds a group. The error is [handle.ErrHeld] if another node takes
// the group over before there is an answer: the holder has perhaps died.
func (rs *Retries) ask(ctx context.Context, holder, group string, asked json.RawMessage) (json.RawMessage, error) {
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
			if now, err := rs.holder(asking, group); err == nil && now != holder {
				moved = true
				cancel()
			}
		}
	})
	data, err := rs.node.Ask(asking, Ask, asked)
	cancel()
	watching.Wait()
	switch {
	case err != nil && moved && ctx.Err() == nil:
		return nil, handle.ErrHeld
	case err != nil && !errors.Is(err, bounded.ErrClosed):
		return nil, fault.Errorf("realtime: retry of a dead letter: %w", err)
	}
	return data, err
}

// holder returns the node that holds a group. The error is [handle.ErrHeld] if none does.
func (rs *Retries) holder(ctx context.Context, group string) (string, error) {
	holder, known, err := rs.node.Holder(ctx, group)
	switch {
	case err != nil:
		return "", err
	case !known:
		return "", noGroup(group)
	case holder == "":
		return "", handle.ErrHeld
	}
	return holder, nil
}

func noGroup(name string) error {
	return fmt.Errorf("%w: there is no group %s", handle.ErrBadGroup, wire.Quote(name))
}

// innerName returns the name of a group in package handle, given its public one.
func (rs *Retries) innerName(public string) string {
	if public == "" {
		return rs.node.Process
	}
	return public
}

// here retries on this node, if it holds the group.
func (rs *Retries) here(ctx context.Context, r Request) answer {
	pos, _ := wire.ParseCursor(r.Cursor) // zero is in no log
	err := rs.node.Groups.Retry(ctx, rs.innerName(r.Group), handle.Again{Pos: pos, Handler: r.Handler, Attempt: r.Attempt})
	said := answerTo(ctx, r, err)
	rs.node.Logger.Info("realtime: a dead letter was retried", "group", r.Group, "cursor", r.Cursor, "outcome", said.Outcome, "error", said.Error)
	return said
}

// Asked answers the requests of other nodes for groups that this one holds.
func (rs *Retries) Asked() control.Ask { return control.Ask{Take: rs.take, Heard: rs.heard} }

// take returns what answers the request of another node, if this one holds the group.
func (rs *Retries) take(asked json.RawMessage) func(context.Context) json.RawMessage {
	var q question
	if json.Unmarshal(asked, &q) != nil || !rs.node.Groups.Holds(rs.innerName(q.Group)) {
		return nil
	}
	return func(ctx context.Context) json.RawMessage {
		ctx, cancel := context.WithTimeout(ctx, min(time.Duration(q.Within)*time.Millisecond, maxRetryTime))
		defer cancel()
		said, _ := json.Marshal(rs.here(ctx, q.Request)) // strings and numbers
		return said
	}
}

// maxRetryTime bounds the time that a node waits for a handler at the request of another.
const maxRetryTime = 10 * time.Minute

// heard is told what has become of a retry on any node.
func (rs *Retries) heard(data json.RawMessage) {
	var said answer
	if json.Unmarshal(data, &said) == nil {
		rs.letters.retried(said)
	}
}
