// Package onestep combines the change of a record and its entry in the log into one
// step, for engines that cannot do both at once.
//
// It first stores the change with the entry inside the record, then appends the
// entry, then stores the change alone. A reader that finds an entry inside a record
// finishes that step before it uses the value. So no reader sees a change whose
// entry is not in the log, whichever node dies at which moment. The entry keeps its
// id, so that it is appended once even if two readers finish the same step.
package onestep

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"iter"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/fields"
)

// appendTime is the time after a change in which its entry may be sent to the log. A
// request that hangs in the network then still arrives before the log forgets its
// id, after two minutes.
const appendTime = 30 * time.Second

// retryAfter is the wait before an append of unknown outcome is repeated.
const retryAfter = 20 * time.Millisecond

// Store is a [backend.Store] over the plain store and the log of one engine.
type Store struct {
	// Plain is a store whose Put and Delete append nothing. Its values may have 512
	// bytes and the size of an entry more than those of the Store.
	Plain backend.Store

	// Append appends a record with the given Cause to the log of the engine. Otherwise
	// it must do what [backend.Log].Append does. An append whose cause is of an earlier
	// epoch must fail: its change may be lost with the tail of the log, and readers
	// could not recognise that. So a backend that uses this Store must derive revisions
	// from the epoch.
	Append func(ctx context.Context, e backend.Entry, cause backend.Revision) (backend.Position, error)
}

var _ backend.Store = Store{}

// A record is a byte with its kind, and the value. In a record with an entry, the id
// and the data of the entry come before the value, each with its length.
const (
	plain   = 'p'
	written = 'w' // with an entry
	deleted = 'd' // with an entry, without a value
)

type record struct {
	kind  byte
	entry backend.Entry
	value []byte
}

func (r *record) encode() []byte {
	b := make([]byte, 0, 1+2*binary.MaxVarintLen64+len(r.entry.ID)+len(r.entry.Data)+len(r.value))
	b = append(b, r.kind)
	if r.kind != plain {
		b = fields.AppendText(fields.AppendText(b, r.entry.ID), r.entry.Data)
	}
	return append(b, r.value...)
}

// decode decodes a record. One that no Store has written is a plain one, with all of it as
// its value: an error would end a List at it, and hide the records of others. Who reads the
// value finds that it is malformed.
func decode(b []byte) (r record) {
	foreign := record{kind: plain, value: b}
	if len(b) == 0 {
		return foreign
	}
	r.kind, r.value = b[0], b[1:]
	switch r.kind {
	case plain:
		return r
	case written, deleted:
	default:
		return foreign
	}
	f := fields.Reader{Rest: r.value}
	r.entry.ID, r.entry.Data = string(f.Text()), f.Text()
	if r.value = f.Rest; f.Bad {
		return foreign
	}
	return r
}

// Put implements [backend.Store].
func (s Store) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if len(w.Value) > backend.MaxValue {
		return 0, backend.ErrTooLarge
	}
	if w.Append == nil {
		return s.put(ctx, w.Key, record{kind: plain, value: w.Value}, w.If)
	}
	r := record{kind: written, entry: named(*w.Append), value: w.Value}
	rev, err := s.put(ctx, w.Key, r, w.If)
	if err != nil {
		return 0, err
	}
	it, err := s.finish(ctx, w.Key, r, rev)
	switch {
	case err != nil:
		return 0, unknown(err) // the next reader of the record finishes the step
	case it.Revision == 0:
		return rev, nil // changed meanwhile: the next change with this revision conflicts
	}
	return it.Revision, nil
}

// Delete implements [backend.Store].
func (s Store) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
	if e == nil {
		return s.Plain.Delete(ctx, k, ifRevision, nil)
	}
	r := record{kind: deleted, entry: named(*e)}
	rev, err := s.put(ctx, k, r, ifRevision)
	if err != nil {
		return err
	}
	if _, err := s.finish(ctx, k, r, rev); err != nil {
		return unknown(err)
	}
	return nil
}

// Get implements [backend.Store].
func (s Store) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	for {
		it, err := s.Plain.Get(ctx, k)
		if err != nil || it.Revision == 0 {
			return it, err
		}
		if it, again, err := s.settle(ctx, it); !again || err != nil {
			return it, err
		}
	}
}

// List implements [backend.Store].
func (s Store) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		for it, err := range s.Plain.List(ctx, kind, group) {
			if err == nil {
				var again bool
				if it, again, err = s.settle(ctx, it); again && err == nil {
					it, err = s.Get(ctx, it.Key)
				}
			}
			if err == nil && it.Revision == 0 {
				continue
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// settle finishes the step if the record holds an entry, and returns the record
// without it. If another writer has changed the record meanwhile, again is true.
func (s Store) settle(ctx context.Context, it backend.Item) (settled backend.Item, again bool, err error) {
	r := decode(it.Value)
	if r.kind == plain {
		it.Value = r.value
		return it, false, nil
	}
	settled, err = s.finish(ctx, it.Key, r, it.Revision)
	again = err == nil && settled.Revision == 0 && r.kind != deleted
	settled.Key = it.Key
	return settled, again, err
}

// finish appends the entry of a record and removes it from the record. It returns
// the record without the entry: with Revision 0 if the record is gone, or if another
// writer has changed it meanwhile.
func (s Store) finish(ctx context.Context, k backend.Key, r record, rev backend.Revision) (backend.Item, error) {
	sending, cancel := context.WithTimeout(ctx, appendTime)
	defer cancel()
	if err := s.append(sending, r.entry, rev); err != nil {
		return backend.Item{}, err
	}
	var err error
	it := backend.Item{Key: k, Value: r.value}
	if r.kind == deleted {
		it = backend.Item{}
		err = s.Plain.Delete(ctx, k, rev, nil)
	} else {
		it.Revision, err = s.put(ctx, k, record{kind: plain, value: r.value}, rev)
	}
	if errors.Is(err, backend.ErrConflict) {
		return backend.Item{}, nil
	}
	return it, err
}

// append repeats an append until its outcome is known: the id makes that safe.
func (s Store) append(ctx context.Context, e backend.Entry, cause backend.Revision) error {
	for {
		_, err := s.Append(ctx, e, cause)
		if !errors.Is(err, backend.ErrMaybeStored) {
			return err
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return err
		}
	}
}

func (s Store) put(ctx context.Context, k backend.Key, r record, ifRevision backend.Revision) (backend.Revision, error) {
	return s.Plain.Put(ctx, backend.Write{Key: k, Value: r.encode(), If: ifRevision})
}

// named returns the entry with an id, so that it is appended once.
func named(e backend.Entry) backend.Entry {
	if e.ID == "" {
		e.ID = "step." + rand.Text()
	}
	return e
}

// unknown returns the error of a change that was made, but whose entry may not have
// been appended.
func unknown(err error) error {
	if errors.Is(err, backend.ErrMaybeStored) || errors.Is(err, backend.ErrClosed) {
		return err
	}
	return fault.Errorf("%w: %w", backend.ErrMaybeStored, err)
}
