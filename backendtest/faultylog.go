package backendtest

import (
	"context"
	"errors"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
)

// errLost ends runs that LoseTail interrupts.
var errLost = errors.New("backendtest: tail lost")

// Append implements [backend.Log].
func (f *Faulty) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	fault := f.nextAppend(&e)
	if fault.err != nil && !fault.stores {
		return backend.Position{}, fault.err
	}
	pos, err := f.Backend.Append(ctx, e)
	if err == nil {
		err = fault.err
	}
	if err != nil {
		return backend.Position{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outside(pos), nil
}

// nextAppend returns the fault of the next append, and clears e's ID if ids are
// forgotten.
func (f *Faulty) nextAppend(e *backend.Entry) (fault appendFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.forgets {
		e.ID = ""
	}
	if len(f.appends) > 0 {
		fault = f.appends[0]
		f.appends = f.appends[1:]
	}
	return fault
}

// Read implements [backend.Log].
func (f *Faulty) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	ends, err := f.Backend.Read(ctx, backend.Position{}, 0)
	if err != nil {
		return backend.Page{}, err
	}
	f.mu.Lock()
	from := backend.Position{Epoch: ends.Head.Epoch, Seq: f.era().after} // nothing is left of earlier eras
	if at, ok := f.inside(after); ok {
		from.Seq = max(from.Seq, at.Seq)
	}
	if after.Compare(f.head(ends.Head)) >= 0 {
		limit = 0
	}
	f.mu.Unlock()
	page, err := f.Backend.Read(ctx, from, limit)
	if err != nil {
		return backend.Page{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var records []backend.Record
	for _, r := range page.Records {
		if r.Pos.Seq > f.era().after {
			records = append(records, f.show(r))
		}
	}
	f.seen = max(f.seen, page.Head.Seq)
	page.First.Seq = max(page.First.Seq, f.era().after+1)
	return backend.Page{Records: records, First: f.in(len(f.eras)-1, page.First), Head: f.head(page.Head)}, nil
}

// Follow implements [backend.Log].
func (f *Faulty) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	r := &run{end: end}
	from, err := f.enter(r, after)
	if err == nil {
		defer f.leave(r)
		err = f.Backend.Follow(running, from, func(batch []backend.Record) {
			if batch = f.pass(running, r, batch); len(batch) > 0 {
				sink(batch)
			}
		})
	}
	if cause := context.Cause(running); cause != nil && ctx.Err() == nil {
		err = cause
	}
	return f.explain(ctx, err)
}

// enter adds r, and returns where it begins in the wrapped log.
func (f *Faulty) enter(r *run, after backend.Position) (backend.Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.followErrors) > 0 {
		err := f.followErrors[0]
		f.followErrors = f.followErrors[1:]
		return backend.Position{}, err
	}
	from, ok := f.inside(after)
	if !ok {
		return backend.Position{}, errLost
	}
	f.runs[r] = struct{}{}
	return from, nil
}

func (f *Faulty) leave(r *run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.runs, r)
}

// explain translates losses, those of the wrapped log and our own, into errors for a
// follower.
func (f *Faulty) explain(ctx context.Context, err error) error {
	var lost *backend.LostError
	if err != errLost && !errors.As(err, &lost) {
		return err
	}
	page, readErr := f.Read(ctx, backend.Position{}, 0)
	if readErr != nil {
		return readErr
	}
	return &backend.LostError{Next: page.Head}
}

// pass applies the present faults to a batch.
func (f *Faulty) pass(ctx context.Context, r *run, batch []backend.Record) []backend.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.held != nil {
		if !f.waitHeld(ctx) {
			return nil
		}
	}
	if ctx.Err() != nil { // LoseTail and Close take effect at once
		return nil
	}
	skipped := min(f.skip, len(batch))
	f.skip -= skipped
	if skipped == len(batch) {
		return nil
	}
	repeated := len(r.delivered) - min(f.repeat, len(r.delivered))
	f.repeat = 0
	out := slices.Clone(r.delivered[repeated:])
	for _, rec := range batch[skipped:] {
		rec = f.show(rec)
		out = append(out, rec)
		r.delivered = append(r.delivered, rec)
	}
	r.delivered = r.delivered[max(0, len(r.delivered)-repeatMax):]
	return out
}

// waitHeld waits for Release without the lock, or returns false.
func (f *Faulty) waitHeld(ctx context.Context) bool {
	held := f.held
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-held:
		return true
	case <-ctx.Done():
		return false
	}
}

// show returns a record of the wrapped log as callers of Faulty see it.
func (f *Faulty) show(r backend.Record) backend.Record {
	r.Pos = f.outside(r.Pos)
	return r
}

// outside returns the position that callers see for the record at pos, in the era
// that has it. Records that no caller had got when an era began belong to that era.
func (f *Faulty) outside(pos backend.Position) backend.Position {
	f.seen = max(f.seen, pos.Seq)
	i := len(f.eras) - 1
	for i > 0 && pos.Seq <= f.eras[i].after {
		i--
	}
	return f.in(i, pos)
}

// head returns the position outside of a head of the wrapped log: it is always
// in the newest era, which may have no record yet, or have begun since.
func (f *Faulty) head(pos backend.Position) backend.Position {
	pos.Seq = max(pos.Seq, f.era().after)
	return f.in(len(f.eras)-1, pos)
}

func (f *Faulty) in(i int, pos backend.Position) backend.Position {
	e := f.eras[i]
	return backend.Position{Epoch: pos.Epoch + uint64(i), Seq: pos.Seq - e.after + e.seq}
}

// inside is the opposite of head. It returns false for a position that is
// certainly not in the newest era; the wrapped log knows the others.
func (f *Faulty) inside(pos backend.Position) (backend.Position, bool) {
	i, e := uint64(len(f.eras)-1), f.era()
	if pos == (backend.Position{}) && e.after == 0 {
		return pos, true
	}
	if pos.Epoch < i || pos.Seq < e.seq {
		return backend.Position{}, false
	}
	return backend.Position{Epoch: pos.Epoch - i, Seq: pos.Seq - e.seq + e.after}, true
}

// Put implements [backend.Store]. The faults of Append apply to one with an entry.
func (f *Faulty) Put(ctx context.Context, w backend.Write) (rev backend.Revision, err error) {
	if w.Append == nil {
		return f.Backend.Put(ctx, w)
	}
	e := *w.Append
	w.Append = &e
	err = f.step(&e, func() error {
		rev, err = f.Backend.Put(ctx, w)
		return err
	})
	return rev, err
}

// Delete implements [backend.Store], as Put does.
func (f *Faulty) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
	if e == nil {
		return f.Backend.Delete(ctx, k, ifRevision, nil)
	}
	entry := *e
	return f.step(&entry, func() error { return f.Backend.Delete(ctx, k, ifRevision, &entry) })
}

func (f *Faulty) step(e *backend.Entry, do func() error) error {
	fault := f.nextAppend(e)
	if fault.err != nil && !fault.stores {
		return fault.err
	}
	if err := do(); err != nil {
		return err
	}
	return fault.err
}
