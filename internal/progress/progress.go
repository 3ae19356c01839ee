// Package progress keeps how far work on a log has come, when pieces of it are
// done out of order.
package progress

import (
	"context"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// Progress is how far work on a log has come.
type Progress struct {
	Floor  backend.Position // everything up to here is done
	Done   []uint64         // what is done after Floor, in its epoch, in any order
	Failed map[uint64]int   // of what is not done after Floor, how often it was tried in vain
}

// Tracker knows what of a log is done. Its methods may be called concurrently.
type Tracker struct {
	worked chan struct{} // holds one

	mu     sync.Mutex
	read   backend.Position    // the log has been read up to here
	begun  queue.Queue[*piece] // in log order, the first one not done
	pieces map[uint64]*piece   // those of begun and those let go, by seq
	open   int                 // those of pieces that are not done
	letGo  int                 // those of open that are not in begun any more
	told   backend.Position    // the floor that Take returned last
	done   []uint64            // not yet returned by Take
	failed map[uint64]int      // not yet returned by Take
	moved  chan struct{}       // see Moved; nil if nobody waits
}

type piece struct {
	seq   uint64
	done  bool
	letGo bool
}

// New returns a Tracker of a log that is done up to pos.
func New(pos backend.Position) *Tracker {
	t := &Tracker{worked: make(chan struct{}, 1), told: pos}
	t.restart(pos)
	return t
}

// Restart forgets what was begun: the log goes on behind pos.
func (t *Tracker) Restart(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restart(pos)
	t.announce()
}

func (t *Tracker) restart(pos backend.Position) {
	t.read, t.begun, t.pieces = pos, queue.Queue[*piece]{}, make(map[uint64]*piece)
	t.open, t.letGo = 0, 0
	t.done, t.failed = nil, make(map[uint64]int)
}

// Begin says that the record at pos, which is behind all those begun, is being
// worked on.
func (t *Tracker) Begin(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &piece{seq: pos.Seq}
	t.begun.Push(p)
	t.pieces[p.seq] = p
	t.open++
}

// Begun returns how many records are begun and not done.
func (t *Tracker) Begun() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// LetGo says that nobody can begin again with what is up to pos. The floor does
// not wait for it any more, so that what is done behind it need not be kept.
func (t *Tracker) LetGo(pos backend.Position) {
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
			p.letGo = true
			t.letGo++
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

// Read says that the log has been read up to pos, and what there is to work on
// is begun.
func (t *Tracker) Read(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = pos
	t.announce()
}

// Done says that the record at pos is done. One that was forgotten is nothing.
func (t *Tracker) Done(pos backend.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pieces[pos.Seq]
	if p == nil || p.done || pos.Epoch != t.read.Epoch {
		return
	}
	p.done = true
	t.open--
	if p.letGo {
		t.letGo--
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

// Failed says that the record at pos was tried in vain, and how often by now.
func (t *Tracker) Failed(pos backend.Position, times int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.pieces[pos.Seq]; p != nil && !p.letGo && pos.Epoch == t.read.Epoch {
		t.failed[pos.Seq] = times
		t.signal()
	}
}

// Worked receives when something was done, or failed, since it last received.
func (t *Tracker) Worked() <-chan struct{} { return t.worked }

// Take returns what is new since it was last called; any is false if nothing is.
func (t *Tracker) Take() (p Progress, any bool) {
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

// Until waits until everything up to pos is done, what was let go included, or
// ctx ends: then it returns its error.
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

// Moved returns a channel that is closed when something is done, or the floor
// moves.
func (t *Tracker) Moved() <-chan struct{} {
	_, moved := t.wait()
	return moved
}

// wait returns the position up to which everything is done, the zero one while
// something that was let go is not, and a channel that is closed when that changes.
func (t *Tracker) wait() (done backend.Position, moved <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	if t.letGo > 0 {
		return backend.Position{}, t.moved
	}
	return t.floor(), t.moved
}

// floor returns the position up to which everything is done, or let go.
func (t *Tracker) floor() backend.Position {
	if t.begun.Len() == 0 {
		return t.read
	}
	return backend.Position{Epoch: t.read.Epoch, Seq: t.begun.At(0).seq - 1}
}

func (t *Tracker) announce() {
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

func (t *Tracker) signal() {
	select {
	case t.worked <- struct{}{}:
	default:
	}
}
