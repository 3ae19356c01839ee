// Package follow reads the log of a backend into the history of a node.
//
// A driver promises a dense log. Follow holds it to that: a record that is out of
// order is dropped, and what is missing between two records is read back before
// anybody is told that something was lost.
package follow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/jitter"
)

// History is what a node keeps of the log.
type History interface {
	Head() backend.Position
	Put([]*backend.Logged)      // what follows Head, without gaps, and is new
	Fill([]*backend.Logged)     // the same, of what has been in the log for longer
	Reset(pos backend.Position) // the log goes on after pos; what came before is lost
}

// Log is what Follow needs of a backend. Read must end in time by itself.
type Log interface {
	Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error
	Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error)
}

// pageSize is how many records are read at once.
const pageSize = 1024

// Start returns the position after which a node that keeps the newest events of the
// log begins its history.
func Start(ctx context.Context, log Log, events int) (backend.Position, error) {
	page, err := log.Read(ctx, backend.Position{}, 0)
	if err != nil {
		return backend.Position{}, err
	}
	start := page.Head
	start.Seq -= min(start.Seq, uint64(events))
	if page.First.Epoch == start.Epoch && page.First.Seq > 0 {
		start.Seq = max(start.Seq, page.First.Seq-1)
	}
	return start, nil
}

// Follower feeds a history from a log.
type Follower struct {
	Log     Log
	History History
	Logger  *slog.Logger

	// Alone says that no other process appends to the log. Then no event of a member
	// comes late, and nothing is remembered to find out.
	Alone bool

	// Control is called for each control record that comes after Fill, in log order.
	// No view shows it. Control must not block.
	Control func(backend.Event)

	decode decoder
}

// Fill reads what is in the log after the history's head, at the time of the call, so
// that a node begins with a history.
func (f *Follower) Fill(ctx context.Context) error {
	return f.catch(ctx, f.History.Fill, func(backend.Event) {}) // it was for those who were there
}

// catch reads what is in the log after the history's head, at the time of the call.
// Where records are gone, the history is reset.
func (f *Follower) catch(ctx context.Context, put func([]*backend.Logged), control func(backend.Event)) error {
	for {
		head := f.History.Head()
		page, err := f.Log.Read(ctx, head, pageSize)
		switch {
		case err != nil:
			return err
		case page.Head.Compare(head) < 0:
			return f.tailLost(page.Head)
		case page.Head.Epoch != head.Epoch, page.First.Compare(head.Next()) > 0 && page.Head != head:
			first := page.First
			if first.Epoch != page.Head.Epoch || first.Seq == 0 {
				first = page.Head.Next()
			}
			first.Seq--
			f.History.Reset(first)
			if first == page.Head {
				return nil
			}
			continue
		case len(page.Records) == 0:
			return nil
		case page.Records[0].Pos.Compare(head.Next()) > 0:
			// What came before it is of an epoch that has ended, or nobody has it.
			before := page.Records[0].Pos
			before.Seq--
			f.History.Reset(before)
			continue
		}
		if err := f.put(page.Records, put, control); err != nil {
			return err
		}
		if f.History.Head().Compare(page.Head) >= 0 {
			return nil
		}
	}
}

var (
	errGap  = errors.New("follow: records are missing")
	errTail = errors.New("follow: the log ends before what was read of it")
)

// tailLost is what a head before the history's own means: an engine that answers from an
// old copy, or one that lost its tail and has not raised its epoch yet. Follow
// finds out which.
func (f *Follower) tailLost(head backend.Position) error {
	f.Logger.Debug("realtime: the log ends before what was read of it", "head", head)
	return errTail
}

const (
	leastWait = 50 * time.Millisecond
	mostWait  = 5 * time.Second
)

// Run feeds the history until ctx ends or somebody closes the backend.
func (f *Follower) Run(ctx context.Context) {
	for wait := leastWait; ; wait = min(2*wait, mostWait) {
		head := f.History.Head()
		err := f.follow(ctx, head)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, backend.ErrClosed):
			f.Logger.Error("realtime: somebody closed the backend; nothing is delivered from now on")
			return
		}
		f.recover(ctx, err)
		if f.History.Head() != head {
			wait = leastWait
		}
		select {
		case <-time.After(wait/2 + jitter.N(wait/2+1)):
		case <-ctx.Done():
			return
		}
	}
}

// follow runs the driver's Follow until it fails, or a record is missing.
func (f *Follower) follow(ctx context.Context, head backend.Position) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err := f.Log.Follow(ctx, head, func(recs []backend.Record) {
		if ctx.Err() != nil {
			return
		}
		if err := f.put(recs, f.History.Put, f.Control); err != nil {
			stop(err)
		}
	})
	if gap := context.Cause(ctx); errors.Is(gap, errGap) {
		return gap
	}
	return err
}

// recover reads back what is missing after an error of follow.
func (f *Follower) recover(ctx context.Context, err error) {
	var lost *backend.LostError
	isLost := errors.As(err, &lost)
	switch {
	case isLost && lost.Next.Epoch != f.History.Head().Epoch:
		f.Logger.Warn("realtime: the backend lost events; clients are told", "error", err)
		f.History.Reset(lost.Next)
		return
	case isLost, errors.Is(err, errGap):
		f.Logger.Info("realtime: events are missing; reading them back", "error", err)
	default:
		f.Logger.Error("realtime: following the backend failed; trying again", "error", err)
		return
	}
	before := f.History.Head()
	if err := f.catch(ctx, f.History.Put, f.Control); err != nil {
		f.Logger.Error("realtime: events cannot be read back; trying again", "error", err)
		return
	}
	// Where even Read does not have what Follow calls lost, it is.
	if isLost && f.History.Head() == before && lost.Next.Compare(before) > 0 {
		f.Logger.Warn("realtime: the backend lost events; clients are told", "error", err)
		f.History.Reset(lost.Next)
	}
}

// put adds records to the history, which must follow its head. Those that it has, and
// those of an epoch that has ended, are dropped.
func (f *Follower) put(recs []backend.Record, put func([]*backend.Logged), control func(backend.Event)) error {
	head := f.History.Head()
	logged := make([]*backend.Logged, 0, len(recs))
	for i := range recs {
		pos := recs[i].Pos
		switch {
		case pos.Compare(head) <= 0:
			continue
		case pos != head.Next():
			if len(logged) > 0 {
				put(logged)
			}
			return errGap
		}
		head = pos
		l := f.decode.record(&recs[i], !f.Alone, f.Logger)
		if l.Event.Resource == backend.Control {
			control(l.Event)
			l = &backend.Logged{Pos: pos}
		}
		logged = append(logged, l)
	}
	if len(logged) > 0 {
		put(logged)
	}
	return nil
}
