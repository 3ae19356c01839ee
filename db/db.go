package db

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/publish/detach"
	"github.com/maravilla-realtime/realtime/internal/publish/keylock"
	"github.com/maravilla-realtime/realtime/internal/publish/outbox"
)

// Errors of this package, all possibly wrapped.
var (
	// ErrUnannounced: the transaction was committed, but not all of its events are
	// in the log. Such an error is an [*UnannouncedError].
	ErrUnannounced = errors.New("db: committed, but not announced")
	// ErrMaybeCommitted: the database did not say whether it committed the
	// transaction. The connection broke in the middle of COMMIT, the driver panicked, or
	// there was no answer within [Options].AnswerTimeout. The events were announced anyway, so that
	// clients read the documents again. If they could not be announced, the error
	// matches [ErrUnannounced] as well.
	ErrMaybeCommitted = errors.New("db: maybe committed")
	// ErrNoAnswer: the database did not answer within [Options].AnswerTimeout. Nothing
	// was committed, unless the error matches [ErrMaybeCommitted] as well.
	ErrNoAnswer = detach.ErrNoAnswer
	// ErrBusy: other transactions of the same documents took too long to commit and
	// announce. This one was rolled back; it can be tried again.
	ErrBusy = errors.New("db: documents are busy")
	// ErrTooMany: a transaction has more events than [Options].MaxEvents.
	ErrTooMany = errors.New("db: too many events in a transaction")
)

// UnannouncedError has the events that were committed but not announced. It matches
// [ErrUnannounced] and wraps the cause.
type UnannouncedError struct {
	// Events are those that are not in the log, in their order, for the host to emit
	// again. If the cause is [realtime.ErrMaybeStored], the first one may be in the
	// log.
	Events []realtime.RenEvent
	Err    error // why the first one could not be announced
}

func (e *UnannouncedError) Error() string {
	return fmt.Sprintf("%v: %d events: %v", ErrUnannounced, len(e.Events), e.Err)
}

// Unwrap makes errors.Is and errors.As see both.
func (e *UnannouncedError) Unwrap() []error { return []error{ErrUnannounced, e.Err} }

// Options are all optional: the zero value of each field means its default, a
// negative value means no limit, and a nil *Options means all defaults.
type Options struct {
	// MaxEvents is the most events of a transaction. Default 10,000.
	MaxEvents int

	// BusyTimeout is how long a transaction waits for others of the same documents.
	// Default 10 s.
	BusyTimeout time.Duration

	// AnswerTimeout is how long the database may take for each of BEGIN, COMMIT and
	// ROLLBACK. Default 30 s.
	AnswerTimeout time.Duration
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.MaxEvents = cmp.Or(opts.MaxEvents, 10_000)
	opts.BusyTimeout = cmp.Or(opts.BusyTimeout, 10*time.Second)
	opts.AnswerTimeout = cmp.Or(opts.AnswerTimeout, 30*time.Second)
	return opts
}

// DB runs transactions whose events are announced when they have committed. Its
// methods may be called concurrently.
type DB struct {
	pub   realtime.Publisher
	db    *sql.DB
	opts  Options
	locks keylock.Locks
	asked atomic.Pointer[appender]
}

// New returns a DB for transactions of db whose events go to pub, a
// [*realtime.Realtime]. A process should have one DB for each database, since the
// order of events is kept only within one DB. If db limits its connections, pub must
// not use db: transactions that wait for their turn hold a connection. opts may
// be nil.
func New(pub realtime.Publisher, db *sql.DB, opts *Options) *DB {
	return &DB{pub: pub, db: db, opts: opts.withDefaults()}
}

// Tx is a transaction with events. It must not be used concurrently. It ends when
// the function that got it returns; the function must not end it.
type Tx struct {
	*sql.Tx
	events []realtime.RenEvent
	most   int // of them; negative: any number
	ended  bool
}

// Commit only returns an error: InTx commits. If the function committed, the events
// would be lost.
func (tx *Tx) Commit() error { return errEnd }

// Rollback only returns an error: InTx rolls back when the function returns an error.
func (tx *Tx) Rollback() error { return errEnd }

var errEnd = errors.New("db: InTx ends the transaction")

// Emit announces ev after the transaction has committed. Errors: [ErrTooMany],
// [realtime.ErrBadEvent] for an event that Realtime.Emit would refuse, except for its
// size, which is checked by the publisher, and [sql.ErrTxDone] after the end of the
// transaction. The caller must not change the Data afterwards. Emit does not block.
func (tx *Tx) Emit(ev realtime.RenEvent) error {
	if tx.ended {
		return fault.Errorf("db: emit: %w", sql.ErrTxDone)
	}
	if err := ev.Validate(); err != nil {
		return err
	}
	if len(tx.events) == tx.most {
		return ErrTooMany
	}
	tx.events = append(tx.events, ev)
	return nil
}

// InTx runs f in a transaction, commits it, and announces its events, in their
// order. If f returns an error, panics, or calls [runtime.Goexit], the transaction
// is rolled back and nothing is announced; the error is returned, the panic goes
// on. opts are those of [sql.DB.BeginTx].
//
// If ctx ends before the COMMIT, the transaction is rolled back, as by
// [sql.DB.BeginTx], and the error is that of ctx: it always means that nothing was
// committed. From the COMMIT on ctx no longer counts. The database has 30 s (see
// [Options]) for its answer, if its driver observes the context of the transaction,
// and each event has 5 s.
//
// Where the log is in the same database (package postgres), the events are part of the
// transaction: see "What can be lost" in the package documentation. Data of an event may then have
// 1 MiB. [ErrUnannounced] does not come.
//
// Errors, beside those of f, of the database and of ctx: [ErrBusy], with nothing
// committed; [ErrUnannounced], with everything committed; [ErrMaybeCommitted].
func (d *DB) InTx(ctx context.Context, opts *sql.TxOptions, f func(tx *Tx) error) error {
	c := detach.New(ctx)
	defer c.Cancel()
	within, err := d.within(c)
	if err != nil {
		return err
	}
	t, err := d.begin(c, opts)
	if err != nil {
		return fault.Errorf("db: begin: %w", err)
	}
	defer t.end() // of a panic; it does nothing after a commit or rollback
	tx := &Tx{Tx: t.Tx, most: d.opts.MaxEvents}
	if err := tx.run(f); err != nil {
		return t.rollback(explain(c, ctx, err))
	}
	unlock, err := d.lock(ctx, tx.events)
	if err != nil {
		return t.rollback(err)
	}
	defer unlock()
	if err := store(c, within, t.Tx, tx.events); err != nil {
		return t.rollback(explain(c, ctx, err))
	}
	if err := c.Detach(); err != nil {
		return t.rollback(err)
	}
	switch err := t.commit(); {
	case within != nil && (err == nil || errors.Is(err, ErrMaybeCommitted)):
		flush(ctx, within, tx.events)
		return err
	case err == nil:
		return d.announce(ctx, tx.events)
	case errors.Is(err, ErrMaybeCommitted):
		return errors.Join(err, d.announce(ctx, tx.events))
	default:
		return fault.Errorf("db: commit: %w", err)
	}
}

// run calls f. Afterwards tx emits nothing, since nobody would announce it.
func (tx *Tx) run(f func(tx *Tx) error) error {
	defer func() { tx.ended = true }()
	return f(tx)
}

// explain translates the error of a function for the caller. If ctx has ended, and
// with it the transaction, the result matches the error of ctx as well. Drivers say in
// that case that the transaction is done, that the connection is bad, or something else.
func explain(c *detach.Context, ctx context.Context, err error) error {
	if callerErr := ctx.Err(); callerErr != nil && !errors.Is(err, callerErr) {
		return fault.Errorf("%w: %w", callerErr, err)
	}
	return c.Explain(err)
}

// lock locks the documents of the events.
func (d *DB) lock(ctx context.Context, events []realtime.RenEvent) (unlock func(), err error) {
	keys := make([]string, len(events))
	for i, ev := range events {
		keys[i] = ev.Resource + "\x00" + ev.Namespace + "\x00" + ev.Key // unique: none has control characters
	}
	if most := d.opts.BusyTimeout; most >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most, ErrBusy)
		defer cancel()
	}
	if unlock, err = d.locks.Lock(ctx, keys...); err != nil {
		if context.Cause(ctx) == ErrBusy {
			err = ErrBusy
		}
		return nil, fault.Errorf("db: wait for the documents: %w", err)
	}
	return unlock, nil
}

// announce emits the events of a transaction that has committed, in their order. It
// stops at the first one that cannot be emitted.
func (d *DB) announce(ctx context.Context, events []realtime.RenEvent) error {
	for i, ev := range events {
		if err := outbox.Emit(ctx, d.pub, ev, ""); err != nil {
			return &UnannouncedError{events[i:], err}
		}
	}
	return nil
}
