package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
)

// errNone stands for the nil that Follow never returns.
var errNone = errors.New("no error")

// A tail follows a log and holds what it is given against the contract: batches
// come one at a time, are not empty, and their records are dense.
type tail struct {
	b      backend.Backend
	gate   <-chan struct{} // the sink waits for it to be closed
	cancel context.CancelFunc
	ended  chan struct{} // closed when Follow has returned
	err    error         // what it returned, once ended is closed
	more   chan struct{} // one-slot signal: something below changed

	mu      sync.Mutex
	inSink  bool
	last    backend.Position
	records []backend.Record // not yet handed out
	broken  error            // the first breach of the contract
}

func follow(ctx context.Context, b backend.Backend, after backend.Position) *tail {
	open := make(chan struct{})
	close(open)
	return followGated(ctx, b, after, open)
}

// followGated follows with a sink that blocks until gate is closed.
func followGated(ctx context.Context, b backend.Backend, after backend.Position, gate <-chan struct{}) *tail {
	ctx, cancel := context.WithCancel(ctx)
	t := &tail{
		b: b, gate: gate, cancel: cancel, last: after,
		ended: make(chan struct{}), more: make(chan struct{}, 1),
	}
	go func() {
		err := b.Follow(ctx, after, func(batch []backend.Record) { t.sink(ctx, batch) })
		if err == nil {
			err = errNone
		}
		t.err = err
		close(t.ended)
	}()
	return t
}

// followHead follows from the newest record.
func followHead(ctx context.Context, b backend.Backend) (*tail, error) {
	at, err := head(ctx, b)
	if err != nil {
		return nil, err
	}
	return follow(ctx, b, at), nil
}

func head(ctx context.Context, b backend.Backend) (backend.Position, error) {
	page, err := b.Read(ctx, backend.Position{}, 0)
	return page.Head, err
}

// stop ends the tail and waits for Follow to return.
func (t *tail) stop() {
	t.cancel()
	<-t.ended
}

func (t *tail) sink(ctx context.Context, batch []backend.Record) {
	t.enterSink(len(batch))
	select {
	case <-t.gate:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inSink = false
	for _, r := range batch {
		if !isNext(t.last, r.Pos) {
			t.breach("record %v came after %v", r.Pos, t.last)
		}
		t.last = r.Pos
	}
	t.records = append(t.records, batch...)
	select {
	case t.more <- struct{}{}:
	default:
	}
}

func (t *tail) enterSink(records int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inSink {
		t.breach("sink was called twice at once")
	}
	if records == 0 {
		t.breach("sink was called without a record")
	}
	t.inSink = true
}

func (t *tail) breach(format string, args ...any) {
	if t.broken == nil {
		t.broken = fmt.Errorf(format, args...)
	}
}

// isNext says whether pos is the position right after prev. Nobody knows the
// epoch of an empty log that says it is at the zero position.
func isNext(prev, pos backend.Position) bool {
	return pos.Seq == prev.Seq+1 &&
		(pos.Epoch == prev.Epoch || prev == backend.Position{})
}

// until waits for the record at end, and returns it after all before it that
// were not returned yet.
func (t *tail) until(ctx context.Context, end backend.Position) ([]backend.Record, error) {
	for {
		if records, err := t.take(end); records != nil || err != nil {
			return records, err
		}
		select {
		case <-t.more:
		case <-ctx.Done():
			return nil, fmt.Errorf("record %v was not delivered: %w", end, ctx.Err())
		case <-t.ended:
			if records, err := t.take(end); records != nil || err != nil {
				return records, err
			}
			return nil, fmt.Errorf("Follow ended before record %v: %w", end, t.err)
		}
	}
}

// take returns the records up to end if they are all there.
func (t *tail) take(end backend.Position) ([]backend.Record, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken != nil {
		return nil, t.broken
	}
	for i, r := range t.records {
		if r.Pos == end {
			taken := t.records[:i+1]
			t.records = t.records[i+1:]
			return taken, nil
		}
	}
	if t.last.Compare(end) >= 0 {
		return nil, fmt.Errorf("record %v was passed over: the newest is %v", end, t.last)
	}
	return nil, nil
}

// settled returns everything stored up to now that was not returned yet. It
// appends a record of its own to know when that is, which it leaves out.
func (t *tail) settled(ctx context.Context) ([]backend.Record, error) {
	end, err := t.b.Append(ctx, message("settled"))
	if err != nil {
		return nil, err
	}
	records, err := t.until(ctx, end)
	if err != nil {
		return nil, err
	}
	return records[:len(records)-1], nil
}
