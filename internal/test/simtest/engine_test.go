package simtest

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// idWindow is how long the engine remembers ids.
const idWindow = 2 * time.Minute

// state is what an engine has, and can lose.
type state struct {
	records []backend.Record // those retained
	head    backend.Position
	items   map[backend.Key]backend.Item
	ids     map[string]known
}

type known struct {
	pos backend.Position
	at  time.Time
}

// engine is what all nodes share. It does each thing at one moment.
type engine struct {
	retain int // records
	trace  func(format string, args ...any)

	mu      sync.Mutex
	now     state
	rev     backend.Revision // never goes back
	before  backend.Revision // the revisions of earlier epochs
	saved   state            // what it can be put back to
	all     []backend.Record // that were ever appended, in order
	changed chan struct{}    // closed with the next change of the log
}

func newEngine(retain int) *engine {
	return &engine{
		retain: retain, rev: 1000, changed: make(chan struct{}),
		now: state{head: backend.Position{Epoch: 1}, items: make(map[backend.Key]backend.Item), ids: make(map[string]known)},
	}
}

func (s state) clone() state {
	s.records, s.items, s.ids = slices.Clone(s.records), maps.Clone(s.items), maps.Clone(s.ids)
	return s
}

// save remembers what there is for lose.
func (e *engine) save() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.saved = e.now.clone()
}

// forget has lose put it back to nothing.
func (e *engine) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.saved = newEngine(0).now
}

// lose puts log and store back to what was saved. The log goes on in a greater epoch,
// with or without the records of earlier ones.
func (e *engine) lose(keep bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.saved.items == nil {
		return
	}
	epoch := e.now.head.Epoch
	e.before = e.rev
	e.now = e.saved.clone()
	e.now.head.Epoch = epoch + 1
	if !keep {
		e.now.records, e.now.head.Seq, e.now.ids = nil, 0, make(map[string]known)
	}
	// Where revisions are derived from the state of an engine, all are new.
	items := slices.SortedFunc(maps.Values(e.now.items), func(a, b backend.Item) int { return cmp.Compare(a.Revision, b.Revision) })
	for _, it := range items {
		e.rev++
		it.Revision = e.rev
		e.now.items[it.Key] = it
	}
	e.wake()
}

// over reports whether a revision is of an epoch that has ended.
func (e *engine) over(rev backend.Revision) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return rev <= e.before
}

func (e *engine) wake() {
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *engine) append(entry backend.Entry, cause backend.Revision) backend.Position {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.add(entry, cause)
}

// add needs the lock.
func (e *engine) add(entry backend.Entry, cause backend.Revision) backend.Position {
	s := &e.now
	p, _ := backend.DecodePayload(entry.Data) // the checks look at it
	if k, ok := s.ids[entry.ID]; ok && entry.ID != "" && time.Since(k.at) <= idWindow {
		e.trace("log has %v: %s %s %s, of %d", k.pos, p.Event.Type, p.Event.Channel, p.Event.User, cause)
		return k.pos
	}
	s.head = s.head.Next()
	rec := backend.Record{Entry: entry, Pos: s.head, Cause: cause, Time: time.Now()}
	s.records = append(s.records, rec)
	if n := len(s.records) - e.retain; n > 0 {
		s.records = slices.Clone(s.records[n:])
	}
	if entry.ID != "" {
		s.ids[entry.ID] = known{s.head, time.Now()}
	}
	e.all = append(e.all, rec)
	e.trace("log %v: %s %s %s, of %d", rec.Pos, p.Event.Type, p.Event.Channel, p.Event.User, cause)
	e.wake()
	return s.head
}

func (e *engine) read(after backend.Position, limit int) backend.Page {
	e.mu.Lock()
	defer e.mu.Unlock()
	page := backend.Page{Head: e.now.head, First: e.now.head.Next()}
	if len(e.now.records) > 0 {
		page.First = e.now.records[0].Pos
	}
	for _, r := range e.now.records {
		if r.Pos.Compare(after) > 0 && len(page.Records) < limit && after.Compare(e.now.head) < 0 {
			page.Records = append(page.Records, r)
		}
	}
	return page
}

// next returns what follows a position, or a channel that is closed when there is
// more; lost: it cannot be followed from there.
func (e *engine) next(after backend.Position) (recs []backend.Record, more <-chan struct{}, lost *backend.LostError) {
	e.mu.Lock()
	defer e.mu.Unlock()
	head := e.now.head
	first := head.Next()
	for i, r := range e.now.records {
		if r.Pos.Epoch == head.Epoch {
			first, recs = r.Pos, e.now.records[i:]
			break
		}
	}
	if after == (backend.Position{}) {
		after.Epoch = head.Epoch
	}
	if after.Epoch != head.Epoch || after.Seq > head.Seq || after.Next().Compare(first) < 0 {
		return nil, nil, &backend.LostError{Next: head}
	}
	from := after.Seq - (first.Seq - 1)
	return slices.Clone(recs[from:]), e.changed, nil
}

func (e *engine) get(k backend.Key) backend.Item {
	e.mu.Lock()
	defer e.mu.Unlock()
	if it, ok := e.now.items[k]; ok {
		return it
	}
	return backend.Item{Key: k}
}

func (e *engine) list(kind, group string) (items []backend.Item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, it := range e.now.items {
		if k.Kind == kind && (group == "" || k.Group == group) {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, func(a, b backend.Item) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	return items
}

// alone returns the name of a record, unless it is a random one.
func alone(k backend.Key) string {
	if k.Kind == "node" {
		return ""
	}
	return k.Name
}

// change writes a record, or deletes it if value is nil.
func (e *engine) change(k backend.Key, value []byte, revision backend.Revision, entry *backend.Entry) (backend.Revision, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now.items[k].Revision != revision {
		return 0, backend.ErrConflict
	}
	e.rev++
	e.trace("store %s %s %s: %d to %d, %d bytes, deleted %v", k.Kind, k.Group, alone(k), revision, e.rev, len(value), value == nil)
	if value == nil {
		delete(e.now.items, k)
	} else {
		e.now.items[k] = backend.Item{Key: k, Value: bytes.Clone(value), Revision: e.rev}
	}
	if entry != nil {
		e.add(*entry, e.rev)
	}
	return e.rev, nil
}
