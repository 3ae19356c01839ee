package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/backend"
)

// request is one change that waits for its batch: of a record, of the log, or of both.
// One that asks for nothing has the epoch checked and the outbox moved.
type request struct {
	kind      *string // nil: no record is changed
	grp, name []byte
	rev       int64  // that the record must have
	value     []byte // nil: delete it
	id, data  []byte // data nil: nothing is appended

	done chan struct{} // closed when what follows is there
	pos  backend.Position
	made int64 // the new revision; 0: the record had another one
	err  error
}

func (r *request) size() int { return len(r.value) + len(r.data) }

const (
	// batchMost and batchBytes bound what is written in one transaction.
	batchMost  = 256
	batchBytes = 8 << 20
	// sendTime bounds how long a batch is tried before it is sent. It is less than the
	// time that a Publish has, so that its error says that nothing has happened.
	sendTime = 3 * time.Second
)

// writer writes what callers ask for, in batches: those who come while one is under
// way share the next. Nothing is queued but the callers themselves, who wait until
// they are taken.
type writer struct {
	b     *Backend
	taken chan *request

	mu    sync.Mutex
	known backend.Position // the newest record that this node has read
}

func newWriter(b *Backend) *writer { return &writer{b: b, taken: make(chan *request)} }

// read says that this node has read the record at pos: who writes holds the log to it.
func (w *writer) read(pos backend.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pos.Compare(w.known) > 0 {
		w.known = pos
	}
}

func (w *writer) newest() backend.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known
}

// do has r written, and waits for it. Where ctx ends before r was taken, nothing
// happens.
func (w *writer) do(ctx context.Context, r *request) error {
	ctx, done, err := w.b.life.Call(ctx)
	if err != nil {
		return err
	}
	defer done()
	r.done = make(chan struct{})
	select {
	case w.taken <- r:
	case <-ctx.Done():
		if w.b.life.Ended() {
			return backend.ErrClosed
		}
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return w.b.life.Unanswered(ctx.Err())
	}
}

// run writes batches until the backend is closed.
func (w *writer) run() {
	for {
		select {
		case r := <-w.taken:
			w.write(w.gather(r))
		case <-w.b.life.Context().Done():
			return
		}
	}
}

// gather returns what is written together with first: what waits by now.
func (w *writer) gather(first *request) []*request {
	batch, size := []*request{first}, first.size()
	for len(batch) < batchMost && size < batchBytes {
		select {
		case r := <-w.taken:
			batch, size = append(batch, r), size+r.size()
		default:
			return batch
		}
	}
	return batch
}

// write writes a batch and tells those who wait for it.
func (w *writer) write(batch []*request) {
	err := w.try(w.b.life.Context(), batch)
	for _, r := range batch {
		if err != nil {
			r.err = err
		}
		close(r.done)
	}
}

// try repeats a batch for a while, as long as it is certain that nothing of it has
// happened.
func (w *writer) try(ctx context.Context, batch []*request) error {
	sending, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	for {
		err := w.once(ctx, sending, batch)
		switch {
		case err == nil:
			return nil
		case !undone(err) && w.b.life.Ended():
			return fmt.Errorf("%w: %w", backend.ErrMaybeStored, backend.ErrClosed)
		case !undone(err):
			return fmt.Errorf("%w: postgres: %w", backend.ErrMaybeStored, err)
		case answered(err):
			return fmt.Errorf("postgres: %w", err)
		}
		if ended := w.b.life.Pause(sending, retryAfter); ended != nil {
			return fmt.Errorf("postgres: %w: %w", ended, err)
		}
	}
}

// errUnsent says that there was no connection to send a batch on.
type errUnsent struct{ error }

func (errUnsent) SafeToRetry() bool { return true }

func (e errUnsent) Unwrap() error { return e.error }

// once sends a batch if there is a connection before sending ends.
func (w *writer) once(ctx, sending context.Context, batch []*request) error {
	c, err := w.b.pool.Acquire(sending)
	if err != nil {
		return errUnsent{err}
	}
	defer c.Release()
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return w.send(ctx, c.Conn(), slices.DeleteFunc(slices.Clone(batch), func(r *request) bool { return r.kind == nil && r.data == nil }), false)
}

// sender is a connection or a transaction.
type sender interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// send sends a batch, each request of which asks for something. With quiet, nobody is
// told what became of each.
func (w *writer) send(ctx context.Context, to sender, batch []*request, quiet bool) error {
	o, known := w.b.options, w.newest()
	kinds, revs := make([]*string, len(batch)), make([]int64, len(batch))
	var bytes [5][][]byte // groups, names, values, ids, data
	for i := range bytes {
		bytes[i] = make([][]byte, len(batch))
	}
	for i, r := range batch {
		kinds[i], revs[i] = r.kind, r.rev
		bytes[0][i], bytes[1][i], bytes[2][i], bytes[3][i], bytes[4][i] = r.grp, r.name, r.value, r.id, r.data
	}
	rows, err := to.Query(ctx, in(w.b.schema, `select * from "realtime".write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`),
		number(known.Epoch), number(known.Seq), kinds, bytes[0], bytes[1], revs, bytes[2], bytes[3], bytes[4], o.Events, o.Bytes, o.Age, quiet)
	if err != nil {
		return err
	}
	if quiet {
		batch = nil
	}
	return collect(rows, batch)
}

var errAnswer = errors.New("postgres: the database answered with another number of rows")

// collect reads what became of each request.
func collect(rows pgx.Rows, batch []*request) error {
	i := 0
	var epoch, seq, rev int64
	_, err := pgx.ForEachRow(rows, []any{&epoch, &seq, &rev}, func() error {
		if i == len(batch) {
			return errAnswer
		}
		batch[i].pos, batch[i].made = backend.Position{Epoch: uint64(epoch), Seq: uint64(seq)}, rev
		i++
		return nil
	})
	if err == nil && i < len(batch) {
		err = errAnswer
	}
	return err
}
