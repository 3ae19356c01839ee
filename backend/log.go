package backend

import (
	"context"
	"fmt"
	"time"
)

// Log is an ordered, append-only log of entries.
type Log interface {
	// Append stores e after everything stored before it and returns its position.
	//
	// An entry whose ID was stored within the last two minutes, by any node, is not
	// stored again: Append returns the position of the first one. This includes an
	// ID whose first append is still under way, and survives restarts and changes of
	// leader. An entry that arrives later than two minutes is stored again; see
	// Record.Cause.
	//
	// Append blocks until the entry is as safe as the engine makes it, at most until ctx
	// ends. The backend may keep e.Data; neither it nor the caller may change that from
	// then on. A backend must not queue without a bound: one that gathers appends makes the
	// next one wait.
	Append(ctx context.Context, e Entry) (Position, error)

	// Follow passes every record after the given position to sink: all of them, in
	// log order, without gaps, beginning with those already stored. It calls sink
	// serially, with one record or more. It blocks until ctx ends, and returns only with an error: that of ctx,
	// ErrClosed, or a *LostError if it cannot keep the promise. While the engine
	// cannot be reached, it waits and tries again.
	//
	// A backend that opens its stream again, for any reason, must begin with the last
	// record it passed on, and compare it (Pos, ID, Data): if that is another record,
	// or is gone, the engine has lost its tail, and Follow returns a LostError. To
	// continue at the next sequence number is wrong: on a log that was put back to an
	// earlier state, that is silent until the log has grown to the same length, and
	// then skips everything before. The same holds for an Append that is given a
	// position which Follow has already passed.
	//
	// sink may keep the records and the slice, and must not block for long. A slow
	// sink makes Follow lag, and at worst lose records (LostError). In an engine of
	// one process it may make Append wait.
	Follow(ctx context.Context, after Position, sink func([]Record)) error

	// Read returns the oldest retained records after the given position, in order,
	// at most limit of them, and where the log begins and ends. It may block until ctx
	// ends, for the engine to answer, but never waits for records. The page belongs to the
	// caller, except what records point to. A backend may return fewer than limit, but at least one if there is
	// one. With limit 0 it returns only First and Head.
	//
	// A position before what is retained, or of an earlier epoch, is no error: the
	// oldest record is returned first. After a position in the future there is none.
	//
	// A node fills its history at start with a Read of limit 0, whose Head says where
	// to begin, and then page by page. It reads back a gap in the same way.
	Read(ctx context.Context, after Position, limit int) (Page, error)
}

// Entry is what a node asks a log to store.
type Entry struct {
	ID   string // identifies the entry for two minutes; at most 200 bytes; "": every append is new
	Data []byte // at most [MaxData] bytes
}

// MaxData is the size of the largest Data that a backend must store, in bytes. An
// engine that has to be configured for it is checked when its backend starts.
const MaxData = 5 << 20

// Record is a stored entry.
type Record struct {
	Entry
	Pos Position

	// Cause is a revision of the key whose change the record tells (see Write.Append),
	// greater than those of earlier changes; 0 of other records. It need not be the one that
	// Put returned: package onestep writes the key twice.
	//
	// Where a Put and its entry are two requests (package onestep), the second one may
	// arrive late, after its ID was forgotten and after newer changes of the same key.
	// A reader of the log recognises such an entry: of the records of one key, one
	// whose Cause is not greater than the last must be ignored. A reader that begins
	// after the newer records were evicted cannot recognise it, and takes it for a
	// change. The Store has the truth.
	Cause Revision

	// Time is when the engine stored the record, by the engine's clock. It must not
	// decide anything that a wrong clock could break.
	Time time.Time
}

// Page is what [Log.Read] found.
type Page struct {
	Records []Record // oldest first, without gaps
	First   Position // of the oldest retained record; the next one after Head if there is none
	Head    Position // of the newest record, or before the first one to come
}

// Position is a place in a log. Seq numbers the records of one Epoch without gaps,
// from any number. An engine whose log was recreated, or lost its tail, continues in
// a greater Epoch that was never used before and that all nodes agree on: see
// [RaiseEpoch]. The zero Position is before everything.
type Position struct{ Epoch, Seq uint64 }

// Compare returns -1 if p is before q, +1 if it is after q, and 0 if they are equal.
func (p Position) Compare(q Position) int {
	switch {
	case p == q:
		return 0
	case p.Epoch < q.Epoch, p.Epoch == q.Epoch && p.Seq < q.Seq:
		return -1
	}
	return +1
}

// Max returns the later one of p and q.
func (p Position) Max(q Position) Position {
	if p.Compare(q) < 0 {
		return q
	}
	return p
}

// Next returns the position after p in the same epoch.
func (p Position) Next() Position { return Position{p.Epoch, p.Seq + 1} }

// LostError says that records after the requested position are gone: evicted, never
// there, or of an epoch that has ended. Follow from Next to continue. Unless records
// were only evicted, the Epoch of Next is greater than the one requested.
type LostError struct{ Next Position }

func (e *LostError) Error() string {
	return fmt.Sprintf("backend: records lost before %d.%d", e.Next.Epoch, e.Next.Seq)
}
