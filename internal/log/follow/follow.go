// Package follow reads the log of a backend into the history of a node.
//
// A backend must deliver a dense log. Follow checks that: it drops a record that is
// out of order, and reads back records that are missing between two others. Only if
// they cannot be read is the history reset.
package follow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/jitter"
	"github.com/maravilla-realtime/realtime/internal/log/live"
)

// History is what a node keeps of the log. It must copy the records that it is given:
// their memory is used again.
type History interface {
	Head() backend.Position
	Put([]*backend.Logged)      // new records that follow Head without gaps
	Fill([]*backend.Logged)     // the same with records from before the node started
	Reset(pos backend.Position) // the log continues after pos; everything before is lost
}

// Log is the part of a backend that this package needs. Read must have a deadline of
// its own.
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

	// Alone: no other process appends to the log. Then no event of a member can come
	// late, and the follower remembers nothing to detect that.
	Alone bool

	// Control is called for each control record that comes after Fill, in log order.
	// No view shows it. Control must not block.
	Control func(backend.Event)

	// Growing is called for what tells of growing messages, in log order: messages with a
	// Key, and live records that are no messages. It must not block. It must be nil during
	// Fill; nil: nobody is told.
	Growing func(*backend.Event)

	decode decoder
	tally  tally
	warned bool // of live events that cannot be read
}

// Fill reads the records that the log has after the history's head at the time of
// the call, so that a node begins with a history.
func (f *Follower) Fill(ctx context.Context) error {
	return f.catch(ctx, f.History.Fill, func(backend.Event) {}) // old control records are for nodes of that time
}

// catch reads the records that the log has after the history's head at the time of
// the call. If some of them are gone, it resets the history.
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
			// Everything before it is of an epoch that has ended, or is gone.
			before := page.Records[0].Pos
			before.Seq--
			f.History.Reset(before)
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
	errTail = errors.New("follow: the log ends before the last record that was read")
)

// tailLost returns the error for a head that is before the history's own. The engine
// may answer from an old copy, or may have lost its tail and not raised its epoch
// yet. The backend's Follow finds out which.
func (f *Follower) tailLost(head backend.Position) error {
	f.Logger.Debug("realtime: the log ends before the last record that was read", "head", head)
	return errTail
}

const (
	leastWait = 50 * time.Millisecond
	mostWait  = 5 * time.Second
)

// Run feeds the history until ctx ends or the backend is closed.
func (f *Follower) Run(ctx context.Context) {
	for wait := leastWait; ; wait = min(2*wait, mostWait) {
		head := f.History.Head()
		err := f.follow(ctx, head)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, backend.ErrClosed):
			f.Logger.Error("realtime: the backend was closed; no events are delivered from now on")
			return
		}
		f.recover(ctx, err)
		if f.History.Head() != head {
			wait = leastWait
		}
		select {
		case <-time.After(jitter.Half(wait)):
		case <-ctx.Done():
			return
		}
	}
}

// follow runs the backend's Follow until it fails, or a record is missing.
func (f *Follower) follow(ctx context.Context, head backend.Position) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err := f.Log.Follow(ctx, head, func(recs []backend.Record) {
		if err := f.put(recs, f.come, f.Control); err != nil {
			stop(err)
		}
	})
	if gap := context.Cause(ctx); errors.Is(gap, errGap) {
		return gap
	}
	return err
}

// come puts new records into the history.
func (f *Follower) come(recs []*backend.Logged) {
	f.tally.come(recs)
	f.History.Put(recs)
}

// recover reads back the records that are missing after an error of follow.
func (f *Follower) recover(ctx context.Context, err error) {
	f.tally.failures.Inc()
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
	// Records that Follow reports as lost are lost if Read does not have them either.
	if isLost && f.History.Head() == before && lost.Next.Compare(before) > 0 {
		f.Logger.Warn("realtime: the backend lost events; clients are told", "error", err)
		f.History.Reset(lost.Next)
	}
}

// reset returns what the history keeps of a control record: that a domain is reset, in
// the domain itself, or nothing.
func reset(ev *backend.Event) backend.Event {
	if !ev.IsReset() {
		return backend.Event{}
	}
	return backend.Event{Resource: ev.Key, Type: backend.Reset, UnixMilli: ev.UnixMilli}
}

// batch is the memory of some records that are put into the history.
type batch struct {
	records []backend.Logged
	list    []*backend.Logged // of records
}

// add makes a record part of the batch.
func (b *batch) add(l backend.Logged) *backend.Logged {
	if len(b.records) == cap(b.records) { // those before stay where list has them
		b.records = make([]backend.Logged, 0, min(max(2*cap(b.records), 1), mostBatch))
	}
	b.records = append(b.records, l)
	added := &b.records[len(b.records)-1]
	b.list = append(b.list, added)
	return added
}

// mostBatch is how many records a batch keeps memory for.
const mostBatch = 256

// reset forgets the records.
func (b *batch) reset() {
	clear(b.records)
	clear(b.list)
	b.records, b.list = b.records[:0], b.list[:0]
	if cap(b.list) > mostBatch {
		b.list = nil
	}
}

// put adds records to the history. They must follow its head; records that it has
// already, and those of an epoch that has ended, are dropped.
func (f *Follower) put(recs []backend.Record, put func([]*backend.Logged), control func(backend.Event)) error {
	defer f.decode.batch.reset()
	head := f.History.Head()
	for i := range recs {
		pos := recs[i].Pos
		switch {
		case pos.Compare(head) <= 0:
			continue
		case pos != head.Next():
			if len(f.decode.batch.list) > 0 {
				put(f.decode.batch.list)
			}
			return errGap
		}
		head = pos
		l := f.decode.record(&recs[i], !f.Alone, f.Logger)
		switch {
		case l.Event.Resource == backend.Control:
			*l = f.unshown(l, control)
		case l.Event.Type == backend.Message && l.Event.Key != "" && f.Growing != nil:
			f.Growing(&l.Event)
		}
	}
	if len(f.decode.batch.list) > 0 {
		put(f.decode.batch.list)
	}
	return nil
}

// unshown takes what a control record says, and returns the record as no view shows it.
func (f *Follower) unshown(l *backend.Logged, control func(backend.Event)) backend.Logged {
	kept := backend.Logged{Pos: l.Pos, Event: reset(&l.Event)}
	if l.Event.Type != live.Type {
		control(l.Event)
		return kept
	}
	said, err := live.Decode(l.Event.Data)
	if err != nil && !f.warned {
		f.warned = true
		f.Logger.Error("realtime: the log has live events that this release cannot read; such events are not shown", "position", l.Pos, "error", err)
	}
	for _, p := range said {
		if p.Event.Resource == backend.Control {
			if f.Growing != nil {
				f.Growing(&p.Event)
			}
			continue
		}
		ev := p.Event
		kind := ev.Key
		ev.Key = ""
		kept.Live = append(kept.Live, &backend.Logged{Pos: l.Pos, Event: ev, Ephemeral: true, Kind: kind})
	}
	return kept
}
