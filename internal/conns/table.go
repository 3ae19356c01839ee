package conns

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// table has the open connections, the oldest first, so that nobody who lists them has to
// sort them.
type table struct {
	rows []row // by id
	gone int   // rows without a connection
}

type row struct {
	id   uint64
	conn *Conn // nil once it is removed
}

// add needs an id that is greater than those before it.
func (t *table) add(c *Conn) { t.rows = append(t.rows, row{c.id, c}) }

// remove takes constant time on average, besides the search: the rows move up when more
// than half of them are empty.
func (t *table) remove(c *Conn) {
	t.rows[t.from(c.id)].conn = nil
	if t.gone++; t.gone <= len(t.rows)/2 {
		return
	}
	kept := make([]row, 0, len(t.rows)-t.gone)
	for c := range t.all {
		kept = append(kept, row{c.id, c})
	}
	t.rows, t.gone = kept, 0
}

// from returns the place of the first row with that id, or a greater one.
func (t *table) from(id uint64) int {
	i, _ := slices.BinarySearchFunc(t.rows, id, func(r row, id uint64) int { return cmp.Compare(r.id, id) })
	return i
}

// all yields the connections.
func (t *table) all(yield func(*Conn) bool) {
	for _, r := range t.rows {
		if r.conn != nil && !yield(r.conn) {
			return
		}
	}
}

// Open is an open connection, as it was at the time of a call.
type Open struct {
	*Conn
	ID    uint64 // from 1 on, never used again
	Since time.Time
	User  string // "" if anonymous or not known yet
}

// batch is how many connections are listed under the lock.
const batch = 128

// All yields the open connections, the oldest first, without a lock.
func (cs *Conns) All() iter.Seq[Open] {
	return func(yield func(Open) bool) {
		var some [batch]Open
		for next, n := uint64(1), batch; n == batch; {
			n = cs.some(some[:], next)
			for i := range some[:n] {
				if next = some[i].ID + 1; !yield(some[i]) {
					return
				}
			}
		}
	}
}

// some lists the oldest connections with that id or a greater one, and returns how many.
func (cs *Conns) some(list []Open, from uint64) (n int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, r := range cs.open.rows[cs.open.from(from):] {
		if n == len(list) {
			break
		}
		if c := r.conn; c != nil {
			list[n] = Open{c, c.id, c.since, c.user}
			n++
		}
	}
	return n
}
