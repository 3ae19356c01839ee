package backend

import (
	"context"
	"iter"
)

// Store keeps small records, at most [MaxValue] bytes each, at most some 100,000 of
// them. It has no clock, and nothing in it expires. The holder of a lease renews a
// record; the others measure, each by its own monotonic clock, for how long the
// revision of that record has not changed.
//
// Each method may block until the engine has answered, at most until ctx ends. Nobody
// changes a value after it was passed or returned.
type Store interface {
	// Get returns the record of k, or an Item with Revision 0 if there is none.
	Get(ctx context.Context, k Key) (Item, error)

	// List yields the records of a group, or with group "" all records of the kind,
	// in any order, each once. A record that exists during the whole call is yielded;
	// one that is changed during the call is yielded as it was before or after. An
	// error ends the sequence. List itself does not block; the sequence does, for each page.
	// List reads page by page, so that a caller that breaks
	// off saves work; 1,000 records must take a few round trips, not 1,000.
	List(ctx context.Context, kind, group string) iter.Seq2[Item, error]

	// Put stores w.Value under w.Key if the record's revision is w.If, and returns
	// the new revision. Otherwise it changes nothing and returns ErrConflict.
	//
	// With w.Append, the write and the append are one step: who reads the new record
	// by Get or List can be sure that the log has the entry. If a node dies half-way,
	// the entry may be appended only when somebody next reads the record. The entries
	// of one key are in the log in the order of its revisions, each exactly once.
	//
	// An engine that can do both in one step must do so. For others, package onestep
	// builds this Put from the backend's Append and a Put without Append.
	//
	// A Put that is repeated after ErrMaybeStored conflicts if the first one took effect.
	// The caller then reads the record to find out.
	Put(ctx context.Context, w Write) (Revision, error)

	// Delete removes the record of k if its revision is ifRevision, else it returns
	// ErrConflict. ifRevision must not be 0. e is appended as with Put; nil: nothing.
	Delete(ctx context.Context, k Key, ifRevision Revision, e *Entry) error
}

// Key names a record. Kind is one of a few constants of the library, of [a-z] only.
// Group and Name come from users: they hold 1 to 255 bytes each, of any value. A backend must encode
// them so that different keys stay different and no key has a meaning of its own
// for the engine.
type Key struct{ Kind, Group, Name string }

// Revision tells the writes of a key apart. It grows with every write of the same
// key, across deletions, and is never used twice: not for a record that was deleted and
// created again, and not after the engine has lost its tail. A backend whose engine
// derives revisions from its own state mixes the engine's clock into them.
type Revision uint64

// Item is a record of the store.
type Item struct {
	Key
	Value    []byte
	Revision Revision // 0: there is none
}

// Write is what [Store.Put] stores.
type Write struct {
	Key
	Value  []byte   // at most MaxValue bytes; not nil
	If     Revision // 0: there must be no record yet
	Append *Entry   // nil: none
}

// MaxValue is the size of the largest value that a backend must store, in bytes.
const MaxValue = 64 << 10
