// Package bounded puts a bound on each call of a backend.
package bounded

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/timely"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// ErrTemporary: the backend did not answer in time, and nothing has happened.
var ErrTemporary = errors.New("realtime: temporarily unavailable")

// CallTime is the time for a call if its caller sets no deadline. It is short enough for
// functions that promise to return within 5 s.
const CallTime = 4 * time.Second

// Within returns ctx with a deadline, if it has none.
func Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// leftRunning bounds the abandoned calls of one method; of those of a store, about one kind
// of record.
const leftRunning = 256

// Backend is a backend for the rest of the library. Each call has a deadline and returns
// soon after it, even if the backend of the host ignores its context.
type Backend struct {
	inner  backend.Backend // the host's, or the one in memory
	log    *slog.Logger
	memory *memory.Backend // inner, if it is the one in memory, whose calls end in time
	owned  bool            // Close closes inner

	// Separate, so that abandoned calls of one method do not block another.
	follows, appends, reads    *method
	gets, lists, puts, deletes *storeMethod
}

var _ backend.Backend = (*Backend)(nil)

// New returns a Backend that calls inner. Close closes inner if it is owned.
func New(inner backend.Backend, owned bool, log *slog.Logger) *Backend {
	lost := func(p *timely.Panicked) {
		log.Error("realtime: panic in a call of the backend that had been given up", "panic", p.Value, "stack", string(p.Stack))
	}
	calls := func(outcomes ...string) *method { return newMethod(lost, outcomes...) }
	store := func(outcomes ...string) *storeMethod { return newStoreMethod(lost, outcomes...) }
	own, _ := inner.(*memory.Backend)
	return &Backend{
		inner: inner, owned: owned, log: log, memory: own,
		follows: calls("lost", "canceled", "closed"), appends: calls(appendOutcomes...), reads: calls(readOutcomes...),
		gets: store(readOutcomes...), lists: store(readOutcomes...), puts: store(changeOutcomes...), deletes: store(changeOutcomes...),
	}
}

// call calls f, and returns when ctx ends, or after CallTime if ctx has no deadline.
func call[T any](ctx context.Context, b *Backend, m *method, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := Within(ctx, CallTime)
	defer cancel()
	if b.memory != nil {
		return f(ctx)
	}
	return timely.Do(ctx, m.Calls, f)
}

// read is call for functions that change nothing. If there was no answer in time, the
// error matches [ErrTemporary].
func read[T any](ctx context.Context, b *Backend, m *method, f func(context.Context) (T, error)) (T, error) {
	began := time.Now()
	value, err := ask(ctx, b, m, f)
	return done(m, began, value, err)
}

func ask[T any](ctx context.Context, b *Backend, m *method, f func(context.Context) (T, error)) (T, error) {
	value, err := call(ctx, b, m, f)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, timely.ErrBusy) || errors.Is(err, timely.ErrLeft) {
		err = fault.Errorf("%w: the backend did not answer in time: %w", ErrTemporary, err)
	}
	return value, err
}

// write is call for functions that make changes. If there was no answer in time, the
// change may have happened, and the error matches [backend.ErrMaybeStored].
func write[T any](ctx context.Context, b *Backend, m *method, f func(context.Context) (T, error)) (T, error) {
	began := time.Now()
	value, err := ask(ctx, b, m, f)
	if errors.Is(err, timely.ErrLeft) {
		cause := context.Cause(ctx) // of the caller's, if it is that which ended
		if cause == nil {
			cause = context.DeadlineExceeded
		}
		err = fault.Errorf("%w: the backend did not answer in time: %w", backend.ErrMaybeStored, cause)
	}
	return done(m, began, value, err)
}

// Append implements [backend.Log].
func (b *Backend) Append(ctx context.Context, entry backend.Entry) (backend.Position, error) {
	if b.memory != nil && ctx.Err() == nil { // what does not wait needs no deadline
		if pos, ok, err := b.memory.TryAppend(entry); ok {
			b.appends.tally.AtOnce(Outcome(err))
			return pos, err
		}
	}
	return write(ctx, b, b.appends, func(ctx context.Context) (backend.Position, error) { return b.inner.Append(ctx, entry) })
}

// Follow implements [backend.Log]. It lasts as long as ctx.
func (b *Backend) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	began := time.Now()
	err := b.follow(ctx, after, sink)
	b.follows.tally.Done(began, Outcome(err))
	return err
}

func (b *Backend) follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	if b.memory != nil {
		return b.inner.Follow(ctx, after, sink)
	}
	_, err := timely.Do(ctx, b.follows.Calls, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.inner.Follow(ctx, after, func(recs []backend.Record) {
			if ctx.Err() == nil { // else another call has perhaps taken over
				sink(recs)
			}
		})
	})
	return err
}

// Read implements [backend.Log].
func (b *Backend) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	return read(ctx, b, b.reads, func(ctx context.Context) (backend.Page, error) { return b.inner.Read(ctx, after, limit) })
}

// Get implements [backend.Store].
func (b *Backend) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	return read(ctx, b, b.gets.of(k.Kind), func(ctx context.Context) (backend.Item, error) { return b.inner.Get(ctx, k) })
}

// listTime is the time for List if its caller sets no deadline: there may be 100,000
// records.
const listTime = 30 * time.Second

// List implements [backend.Store]. It reads all records before it yields the first,
// so that the deadline does not depend on its caller.
func (b *Backend) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if b.memory != nil {
		return b.listMemory(ctx, kind, group)
	}
	return func(yield func(backend.Item, error) bool) {
		ctx, cancel := Within(ctx, listTime)
		defer cancel()
		items, err := read(ctx, b, b.lists.of(kind), func(ctx context.Context) (items []backend.Item, err error) {
			for it, err := range b.inner.List(ctx, kind, group) {
				if err != nil {
					return nil, err
				}
				items = append(items, it)
			}
			return items, nil
		})
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
		if err != nil {
			yield(backend.Item{}, err)
		}
	}
}

// listMemory is List for the engine in memory, which needs no deadline, and no copy of
// what it has.
func (b *Backend) listMemory(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		began := time.Now()
		var failed error
		defer func() { b.lists.tally.Done(began, Outcome(failed)) }()
		for it, err := range b.memory.List(ctx, kind, group) {
			failed = err
			if !yield(it, err) {
				return
			}
		}
	}
}

// Put implements [backend.Store].
func (b *Backend) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	return write(ctx, b, b.puts.of(w.Kind), func(ctx context.Context) (backend.Revision, error) { return b.inner.Put(ctx, w) })
}

// Delete implements [backend.Store].
func (b *Backend) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, entry *backend.Entry) error {
	_, err := write(ctx, b, b.deletes.of(k.Kind), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, b.inner.Delete(ctx, k, ifRevision, entry)
	})
	return err
}

// SingleProcess implements [backend.SingleProcess] as the inner backend does.
func (b *Backend) SingleProcess() bool {
	single, ok := b.inner.(backend.SingleProcess)
	return ok && single.SingleProcess()
}

// Close implements [backend.Backend]. It does not close a backend of the host. It waits a
// moment for abandoned calls.
func (b *Backend) Close(ctx context.Context) error {
	if b.owned {
		return b.inner.Close(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoment)
	defer cancel()
	for calls := range b.allCalls() {
		if calls.Wait(last) != nil {
			b.log.Warn("realtime: the backend does not return from a call that was given up")
			break
		}
	}
	return nil
}

// lastMoment is the time that Close waits for abandoned calls of the backend.
const lastMoment = 250 * time.Millisecond
