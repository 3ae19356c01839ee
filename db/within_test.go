package db_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/db"
)

// sameDatabase is a diary that is also the backend, with the log in the database.
type sameDatabase struct {
	*diary
	asked             int
	elsewhere         bool
	failAsk, failSend error
	failFlush         error
}

func (d *sameDatabase) Transactional() (backend.Transactional, bool) { return d, true }

func (d *sameDatabase) Shares(context.Context, *sql.DB) (bool, error) {
	d.asked++
	return !d.elsewhere, d.failAsk
}

func (d *sameDatabase) AppendIn(ctx context.Context, tx *sql.Tx, entries []backend.Entry) error {
	for _, e := range entries {
		p, err := backend.DecodePayload(e.Data)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "append "+p.Event.Key); err != nil {
			return err
		}
	}
	return d.failSend
}

func (d *sameDatabase) Flush(ctx context.Context) error {
	d.write("flush")
	return errors.Join(ctx.Err(), d.failFlush)
}

func openSame(t *testing.T) (*db.DB, *sameDatabase) {
	t.Helper()
	d := &sameDatabase{diary: &diary{failEmit: map[string]error{}}}
	sqlDB := sql.OpenDB(d)
	t.Cleanup(func() { sqlDB.Close() })
	return db.New(d, sqlDB, nil), d
}

// Where the log is in the database, the events are part of the transaction.
func TestEventsAreInTheTransaction(t *testing.T) {
	d, diary := openSame(t)
	for range 2 {
		if err := d.InTx(t.Context(), nil, emit("b", "a")); err != nil {
			t.Error(err)
		}
		diary.expect(t, "write, append b, append a, commit, flush")
	}
	if diary.asked != 1 {
		t.Errorf("the database was asked %d times", diary.asked)
	}
	if err := d.InTx(t.Context(), nil, emit()); err != nil {
		t.Error(err)
	}
	diary.expect(t, "write, commit")

	changed := errors.New("changed my mind")
	if err := d.InTx(t.Context(), nil, func(tx *db.Tx) error { return errors.Join(emit("a")(tx), changed) }); !errors.Is(err, changed) {
		t.Error(err)
	}
	diary.expect(t, "write, rollback")

	diary.failSend = errors.New("no such table")
	if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, diary.failSend) {
		t.Error(err)
	}
	diary.expect(t, "write, append a, rollback")
	diary.failSend = nil

	large := realtime.DocumentCreated("todos", "a")
	large.Data = make([]byte, 2<<20)
	for i := range large.Data {
		large.Data[i] = '1'
	}
	if err := d.InTx(t.Context(), nil, func(tx *db.Tx) error { return tx.Emit(large) }); !errors.Is(err, realtime.ErrTooLarge) {
		t.Errorf("2 MiB of data: %v", err)
	}
	diary.expect(t, "rollback")
}

// An announcement that comes later has not failed: the commit has made it certain.
func TestFlushMayFail(t *testing.T) {
	d, diary := openSame(t)
	diary.failFlush = errDown
	ctx, cancel := context.WithCancel(t.Context())
	diary.onCommit = cancel
	if err := d.InTx(ctx, nil, emit("a")); err != nil {
		t.Error(err)
	}
	diary.expect(t, "write, append a, commit, flush")
}

// Where nobody knows whether it was committed, nobody announces by hand: the events
// share its fate.
func TestLostCommitInTheSameDatabase(t *testing.T) {
	d, diary := openSame(t)
	diary.failCommit = context.DeadlineExceeded
	if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, db.ErrMaybeCommitted) || errors.Is(err, db.ErrUnannounced) {
		t.Errorf("the error is %v", err)
	}
	diary.expect(t, "write, append a, commit, flush")
	diary.failCommit = errors.New("constraint")
	if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, diary.failCommit) {
		t.Errorf("the error is %v", err)
	}
	diary.expect(t, "write, append a, commit")
}

// Where the log is in another database, events are announced after the commit. As long
// as that is not known, nothing is written.
func TestLogIsElsewhere(t *testing.T) {
	d, diary := openSame(t)
	diary.failAsk = errDown
	if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, errDown) {
		t.Errorf("the error is %v", err)
	}
	diary.expect(t, "")
	diary.failAsk, diary.elsewhere = nil, true
	if err := d.InTx(t.Context(), nil, emit("a")); err != nil {
		t.Error(err)
	}
	diary.expect(t, "write, commit, emit updated a")
}
