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
	"github.com/maravilla-realtime/realtime/internal/detach"
	"github.com/maravilla-realtime/realtime/internal/keylock"
	"github.com/maravilla-realtime/realtime/internal/outbox"
)

// Errors of this package, all possibly wrapped.
var (
	// ErrUnannounced: the transaction was committed, but not all of its events are
	// in the log. Such an error is an [*UnannouncedError].
	ErrUnannounced = errors.New("db: committed, but not announced")
	// ErrMaybeCommitted: the database did not say whether it committed the
	// transaction. The connection broke in the middle of COMMIT, or there was no
	// answer within [Options].AnswerTimeout. The events were announced all the same: whoever reads again
	// sees what is there. It is an [ErrUnannounced] as well if they could not be.
	ErrMaybeCommitted = errors.New("db: perhaps committed")
	// ErrNoAnswer: the database did not answer within [Options].AnswerTimeout. Nothing was committed,
	// unless the error is an [ErrMaybeCommitted] as well.
	ErrNoAnswer = detach.ErrNoAnswer
	// ErrBusy: other transactions of the same documents took too long to commit and
	// announce. This one was rolled back; it can be tried again.
	ErrBusy = errors.New("db: documents are busy")
	// ErrTooMany: a transaction has more events than [Options].MaxEvents.
	ErrTooMany = errors.New("db: too many events in a transaction")
)

// UnannouncedError says what was committed and not announced. It is an
// [ErrUnannounced] and wraps the cause.
type UnannouncedError struct {
	// Events are those that are not in the log, in their order, for the host to emit
	// again. The first one perhaps is, if the cause is [realtime.ErrMaybeStored].
	Events []realtime.RenEvent
	Err    error // why the first one is not
}

func (e *UnannouncedError) Error() string {
	return fmt.Sprintf("%v: %d events: %v", ErrUnannounced, len(e.Events), e.Err)
}

// Unwrap makes errors.Is and errors.As see both.
func (e *UnannouncedError) Unwrap() []error { return []error{ErrUnannounced, e.Err} }

// Options are all optional: the zero value of each field means its default, a
// negative value means no limit, and a nil *Options means all defaults.
type Options struct {
	// MaxEvents is how many events a transaction may have. Default 10,000.
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
// [*realtime.Realtime]. A process has one for each database, as the order of
// events is kept among those of one DB. pub must not need connections of db that
// are limited in number: transactions that wait for their turn hold theirs. opts may
// be nil.
func New(pub realtime.Publisher, db *sql.DB, opts *Options) *DB {
	return &DB{pub: pub, db: db, opts: opts.withDefaults()}
}

// Tx is a transaction with events. It is for one goroutine at a time, and ends
// with the function it was given to, which does not end it itself.
type Tx struct {
	*sql.Tx
	events []realtime.RenEvent
	most   int // of them; negative: any number
}

// Commit is InTx's: it does nothing but say so. Committed in here, the events would
// be lost.
func (tx *Tx) Commit() error { return errEnd }

// Rollback is InTx's: return an error instead.
func (tx *Tx) Rollback() error { return errEnd }

var errEnd = errors.New("db: InTx ends the transaction")

// Emit announces ev once the transaction has committed. What Realtime.Emit would
// refuse is refused now, as [realtime.ErrBadEvent], but for data above the limit of
// the publisher; and [ErrTooMany]. Data is kept as it is until then: do not change
// it.
func (tx *Tx) Emit(ev realtime.RenEvent) error {
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
// committed. From the COMMIT on ctx no longer counts. The database has 30 s (see [Options]) for its
// answer, as far as its driver heeds the context of the transaction, and each
// event 5 s, whether or not anybody still waits for them.
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
		return fmt.Errorf("db: begin: %w", err)
	}
	defer t.end() // of a panic; it does nothing after a commit or rollback
	tx := &Tx{Tx: t.Tx, most: d.opts.MaxEvents}
	if err := f(tx); err != nil {
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
		return fmt.Errorf("db: commit: %w", err)
	}
}

// explain returns what the error of a function is to the caller. Where ctx has
// ended, and with it the transaction, it is also the error of ctx: drivers then say
// that the transaction is done, the connection is bad, or nothing of the sort.
func explain(c *detach.Context, ctx context.Context, err error) error {
	if callerErr := ctx.Err(); callerErr != nil && !errors.Is(err, callerErr) {
		return fmt.Errorf("%w: %w", callerErr, err)
	}
	return c.Explain(err)
}

// lock locks the documents of the events.
func (d *DB) lock(ctx context.Context, events []realtime.RenEvent) (unlock func(), err error) {
	keys := make([]string, len(events))
	for i, ev := range events {
		keys[i] = ev.Resource + "\x00" + ev.Namespace + "\x00" + ev.Key // none has control characters
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
		return nil, fmt.Errorf("db: wait for the documents: %w", err)
	}
	return unlock, nil
}

// announce emits the events of a transaction that has committed. The first that
// cannot be emitted holds back those after it, so that none overtakes.
func (d *DB) announce(ctx context.Context, events []realtime.RenEvent) error {
	for i, ev := range events {
		if err := outbox.Emit(ctx, d.pub, ev, ""); err != nil {
			return &UnannouncedError{events[i:], err}
		}
	}
	return nil
}
