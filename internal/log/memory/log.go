package memory

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// maxBatch bounds the records that a follower takes at once, and so the time that it
// holds the lock.
const maxBatch = 256

// errFull: a follower lags too far to append now.
var errFull = errors.New("memory: a follower lags")

// eventLog implements [backend.Log].
type eventLog struct {
	limits Limits
	epoch  uint64
	start  time.Time // ages are durations since, a third of the size of a time

	mu        sync.Mutex
	closed    bool
	kept      queue.Queue[kept]
	last      mark // of the newest record
	floor     mark // of the newest record that is no longer kept
	ids       recentIDs
	followers []*follower   // one for each node, so a loop over them is cheap
	room      chan struct{} // closed when waiting appends may try again; nil if none waits
}

// A mark is a place in the log: the numbers of records, and of their bytes, that were
// appended up to it since the log began.
type mark struct {
	seq   uint64
	bytes int64
}

type kept struct {
	record backend.Record
	bytes  int64 // as in the record's mark
	at     time.Duration
}

type follower struct {
	at     mark // of the last record taken
	parked bool // waits for wake
	wake   chan struct{}
}

func newEventLog(limits Limits) *eventLog {
	now := time.Now()
	return &eventLog{
		limits: limits,
		epoch:  uint64(now.UnixMicro()),
		start:  now,
		ids:    newRecentIDs(rememberMax),
	}
}

// Append implements [backend.Log].
//
// It waits while a follower lags by more than half of the retained records, so that
// no follower ever loses one. Ids are remembered for two minutes; beyond 262,144 of
// them the oldest are forgotten earlier.
func (l *eventLog) Append(ctx context.Context, e backend.Entry) (pos backend.Position, err error) {
	err = l.whenRoom(ctx, func() error {
		pos, err = l.append(e, 0)
		return err
	})
	return pos, err
}

// TryAppend is Append if that need not wait; otherwise ok is false.
func (l *eventLog) TryAppend(e backend.Entry) (pos backend.Position, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return pos, true, backend.ErrClosed
	}
	pos, err = l.append(e, 0)
	return pos, err != errFull, err
}

// whenRoom runs f with the lock held, again after errFull once there is room.
func (l *eventLog) whenRoom(ctx context.Context, f func() error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		err := backend.ErrClosed
		if !l.closed {
			err = f()
		}
		l.mu.Unlock()
		if err != errFull {
			return err
		}
		l.waitForRoom(ctx)
	}
}

// append needs the lock. It appends without waiting, or returns errFull.
func (l *eventLog) append(e backend.Entry, cause backend.Revision) (backend.Position, error) {
	now := time.Since(l.start)
	if e.ID != "" {
		if seq, ok := l.ids.find(e.ID, now); ok {
			return l.position(seq), nil
		}
	}
	slowest := l.slowest()
	if l.full(slowest) {
		return backend.Position{}, errFull
	}
	l.store(e, cause, now)
	l.evict(now, slowest)
	l.wake()
	return l.position(l.last.seq), nil
}

func (l *eventLog) store(e backend.Entry, cause backend.Revision, now time.Duration) {
	l.last.seq++
	l.last.bytes += size(&e)
	record := backend.Record{Entry: e, Pos: l.position(l.last.seq), Cause: cause, Time: l.start.Add(now)}
	l.kept.Push(kept{record, l.last.bytes, now})
	if e.ID != "" {
		l.ids.add(e.ID, l.last.seq, now)
	}
}

// size returns the approximate memory that a record of e takes, in bytes.
func size(e *backend.Entry) int64 {
	return int64(int(unsafe.Sizeof(kept{})) + len(e.ID) + len(e.Data))
}

// evict removes records beyond the limits, except those that the slowest follower,
// which is at the given mark, has not taken yet.
func (l *eventLog) evict(now time.Duration, slowest mark) {
	for l.floor.seq < slowest.seq {
		oldest := l.kept.At(0)
		if !l.overLimits() && now-oldest.at <= l.limits.Age {
			return
		}
		l.floor = mark{oldest.record.Pos.Seq, oldest.bytes}
		l.kept.Pop()
	}
}

// overLimits reports whether the oldest record must go. The newest record may have
// any size.
func (l *eventLog) overLimits() bool {
	return l.kept.Len() > l.limits.Records ||
		l.last.bytes-l.floor.bytes > l.limits.Bytes && l.kept.Len() > 1
}

// slowest returns the mark that all followers have reached.
func (l *eventLog) slowest() mark {
	slowest := l.last
	for _, f := range l.followers {
		if f.at.seq < slowest.seq {
			slowest = f.at
		}
	}
	return slowest
}

// full reports whether the slowest follower lags by more than half of the retained
// records.
func (l *eventLog) full(slowest mark) bool {
	return l.last.seq-slowest.seq > uint64(l.limits.Records/2) ||
		l.last.bytes-slowest.bytes > l.limits.Bytes/2
}

func (l *eventLog) wake() {
	for _, f := range l.followers {
		if f.parked {
			f.parked = false
			f.wake <- struct{}{} // has room for the one wake that parked asks for
		}
	}
}

// waitForRoom returns when an append may succeed, or ctx ends. It holds no lock while it
// waits, so it blocks only its caller.
func (l *eventLog) waitForRoom(ctx context.Context) {
	l.mu.Lock()
	if l.closed || !l.full(l.slowest()) { // made since the append
		l.mu.Unlock()
		return
	}
	if l.room == nil {
		l.room = make(chan struct{})
	}
	room := l.room
	l.mu.Unlock()
	select {
	case <-room:
	case <-ctx.Done():
	}
}

// makeRoom wakes waiting appends if there is room for them.
func (l *eventLog) makeRoom() {
	if l.room != nil && (l.closed || !l.full(l.slowest())) {
		close(l.room)
		l.room = nil
	}
}

// Follow implements [backend.Log]. sink may call any method of the backend. But an
// Append in sink may wait, until its context ends, for room that only this
// follower could make.
func (l *eventLog) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	f, err := l.enter(after)
	if err != nil {
		return err
	}
	defer l.leave(f)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, err := l.take(f)
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			sink(batch)
			continue
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
	}
}

func (l *eventLog) enter(after backend.Position) (*follower, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, backend.ErrClosed
	}
	l.evict(time.Since(l.start), l.slowest())
	if after == (backend.Position{}) {
		after.Epoch = l.epoch
	}
	if after.Epoch != l.epoch || after.Seq < l.floor.seq || after.Seq > l.last.seq {
		return nil, &backend.LostError{Next: l.position(l.last.seq)}
	}
	f := &follower{at: l.mark(after.Seq), wake: make(chan struct{}, 1)}
	l.followers = append(l.followers, f)
	return f, nil
}

func (l *eventLog) leave(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.followers, f)
	l.followers = slices.Delete(l.followers, i, i+1)
	l.makeRoom()
}

// take returns the next records for f, in a slice of their own. If there are
// none, it parks f.
func (l *eventLog) take(f *follower) ([]backend.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, backend.ErrClosed
	}
	batch := l.between(f.at.seq, min(l.last.seq, f.at.seq+maxBatch))
	f.parked = len(batch) == 0
	f.at = l.mark(f.at.seq + uint64(len(batch)))
	l.makeRoom()
	return batch, nil
}

// Read implements [backend.Log].
func (l *eventLog) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	if err := ctx.Err(); err != nil {
		return backend.Page{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return backend.Page{}, backend.ErrClosed
	}
	l.evict(time.Since(l.start), l.slowest())
	head := l.position(l.last.seq)
	from := l.floor.seq
	switch {
	case after.Compare(head) >= 0:
		from = l.last.seq
	case after.Epoch == l.epoch:
		from = max(from, after.Seq)
	}
	to := min(l.last.seq, from+uint64(max(limit, 0)))
	return backend.Page{Records: l.between(from, to), First: l.position(l.floor.seq + 1), Head: head}, nil
}

// between returns the records after from, up to and including to. The log must have
// all of them.
func (l *eventLog) between(from, to uint64) []backend.Record {
	records := make([]backend.Record, to-from)
	skip := int(from - l.floor.seq)
	for i := range records {
		records[i] = l.kept.At(skip + i).record
	}
	return records
}

// mark returns the mark of a retained record, or the floor.
func (l *eventLog) mark(seq uint64) mark {
	if seq == l.floor.seq {
		return l.floor
	}
	return mark{seq, l.kept.At(int(seq-l.floor.seq) - 1).bytes}
}

func (l *eventLog) position(seq uint64) backend.Position {
	return backend.Position{Epoch: l.epoch, Seq: seq}
}

func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
	l.makeRoom()
}
