// Package progress records which records of a log have been handled, if they are
// handled out of order.
package progress

import (
	"context"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// Progress is the state of the work on a log.
type Progress struct {
	Floor  backend.Position // everything up to here is done
	Done   []uint64         // what is done after Floor, in its epoch, in any order
	Failed map[uint64]int   // failed attempts of records after Floor that are not done
}

// Tracker knows which records of a log are done. Its methods may be called
// concurrently.
type Tracker struct {
	changed chan struct{} // holds one

	mu       sync.Mutex
	read     backend.Position    // the log has been read up to here
	begun    queue.Queue[*piece] // in log order, the first one not done
	pieces   map[uint64]*piece   // those of begun and those evicted, by seq
	open     int                 // those of pieces that are not done
	evicted  int                 // those of open that are no longer in begun
	told     backend.Position    // the floor that Delta returned last
	done     []uint64            // not yet returned by Delta
	failed   map[uint64]int      // not yet returned by Delta
	advanced chan struct{}       // see Advanced; nil if no goroutine waits
}

type piece struct {
	seq     uint64
	done    bool
	evicted bool
}

// New returns a Tracker of a log that is done up to pos.
func New(pos backend.Position) *Tracker {
	t := &Tracker{changed: make(chan struct{}, 1), told: pos}
	t.restart(pos)
	return t
}

// Restart forgets all records begun: the log continues after pos.
func (t *Tracker) Restart(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restart(pos)
	t.announce()
}

func (t *Tracker) restart(pos backend.Position) {
	t.read, t.begun, t.pieces = pos, queue.Queue[*piece]{}, make(map[uint64]*piece)
	t.open, t.evicted = 0, 0
	t.done, t.failed = nil, make(map[uint64]int)
}

// Begin notes that work on the record at pos begins. pos must be after all records
// begun before.
func (t *Tracker) Begin(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &piece{seq: pos.Seq}
	t.begun.Push(p)
	t.pieces[p.seq] = p
	t.open++
}

// Pending returns the number of records that are begun and not done.
func (t *Tracker) Pending() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// Evict notes that the records up to pos are gone from the history, so no other node
// could handle them again. The floor moves past them even while they are being
// handled, which bounds the list of records done after the floor.
func (t *Tracker) Evict(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if pos.Epoch != t.read.Epoch {
		return
	}
	for t.begun.Len() > 0 && t.begun.At(0).seq <= pos.Seq {
		p := t.begun.At(0)
		if p.done {
			delete(t.pieces, p.seq)
		} else {
			p.evicted = true
			t.evicted++
			delete(t.failed, p.seq)
		}
		t.begun.Pop()
	}
	t.pass()
	t.announce()
}

// pass moves the floor past what is done.
func (t *Tracker) pass() {
	for t.begun.Len() > 0 && t.begun.At(0).done {
		delete(t.pieces, t.begun.Pop().seq)
	}
}

// Read notes that the log has been read up to pos, and that all records of interest
// up to there are begun.
func (t *Tracker) Read(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = pos
	t.announce()
}

// Done notes that the record at pos is done. It ignores records that were forgotten.
func (t *Tracker) Done(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pieces[pos.Seq]
	if p == nil || p.done || pos.Epoch != t.read.Epoch {
		return
	}
	p.done = true
	t.open--
	if p.evicted {
		t.evicted--
		delete(t.pieces, p.seq)
		t.announce()
		return
	}
	t.done = append(t.done, p.seq)
	delete(t.failed, p.seq)
	t.pass()
	t.announce()
	t.signal()
}

// Failed notes that the record at pos has failed, and the number of its attempts.
func (t *Tracker) Failed(pos backend.Position, times int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.pieces[pos.Seq]; p != nil && !p.evicted && pos.Epoch == t.read.Epoch {
		t.failed[pos.Seq] = times
		t.signal()
	}
}

// Changed returns a channel that receives when a record was done, or failed, since it
// last received.
func (t *Tracker) Changed() <-chan struct{} { return t.changed }

// Delta returns the progress since its last call; any is false if there is none.
func (t *Tracker) Delta() (p Progress, any bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.Floor = t.floor()
	for _, seq := range t.done {
		if seq > p.Floor.Seq {
			p.Done = append(p.Done, seq)
		}
	}
	if len(t.failed) > 0 {
		p.Failed = t.failed
		t.failed = make(map[uint64]int)
	}
	any = p.Floor != t.told || len(p.Done)+len(p.Failed) > 0
	t.told, t.done = p.Floor, nil
	return p, any
}

// Until waits until everything up to pos is done, including records that were
// evicted. If ctx ends first, it returns the error of ctx.
func (t *Tracker) Until(ctx context.Context, pos backend.Position) error {
	for {
		done, moved := t.wait()
		if done.Compare(pos) >= 0 {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Advanced returns a channel that is closed when a record is done, or the floor moves.
func (t *Tracker) Advanced() <-chan struct{} {
	_, moved := t.wait()
	return moved
}

// wait returns the position up to which everything is done, and a channel that is
// closed when that changes. The position is zero while a record that was evicted is
// not done.
func (t *Tracker) wait() (done backend.Position, moved <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.advanced == nil {
		t.advanced = make(chan struct{})
	}
	if t.evicted > 0 {
		return backend.Position{}, t.advanced
	}
	return t.floor(), t.advanced
}

// Floor returns the position up to which everything is done, or evicted.
func (t *Tracker) Floor() backend.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.floor()
}

// floor returns the position up to which everything is done, or evicted.
func (t *Tracker) floor() backend.Position {
	if t.begun.Len() == 0 {
		return t.read
	}
	return backend.Position{Epoch: t.read.Epoch, Seq: t.begun.At(0).seq - 1}
}

func (t *Tracker) announce() {
	if t.advanced != nil {
		close(t.advanced)
		t.advanced = nil
	}
}

func (t *Tracker) signal() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}
