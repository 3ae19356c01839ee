package db_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/db"
)

// isContext reports whether a caller would take err for the end of its context,
// which means that nothing was committed.
func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// TestContextEndsInCommit: the rows are there, so the event is, even if the caller has gone.
func TestContextEndsInCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, diary := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		diary.onCommit = func() {
			cancel()
			synctest.Wait()
		}
		if err := d.InTx(ctx, nil, emit("a", "b")); err != nil {
			t.Error(err)
		}
		diary.expect(t, "write, commit, emit updated a, emit updated b")
	})
}

// TestContextEndsBeforeCommit: whatever ends it, and wherever the function is then,
// the error is that of the context, and nothing is committed.
func TestContextEndsBeforeCommit(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		for name, f := range map[string]func(ctx context.Context, tx *db.Tx) error{
			"says nothing":          func(ctx context.Context, tx *db.Tx) error { <-ctx.Done(); return nil },
			"returns its error":     func(ctx context.Context, tx *db.Tx) error { <-ctx.Done(); return ctx.Err() },
			"goes on without it":    func(ctx context.Context, tx *db.Tx) error { <-ctx.Done(); synctest.Wait(); return emit("b")(tx) },
			"returns what it finds": func(ctx context.Context, tx *db.Tx) error { synctest.Wait(); <-ctx.Done(); return emit("b")(tx) },
		} {
			t.Run(fmt.Sprintf("%v, and the function %s", cause, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, diary := open(t)
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					err := d.InTx(ctx, nil, func(tx *db.Tx) error {
						if cause == context.Canceled {
							cancel()
						}
						return errors.Join(emit("a")(tx), f(ctx, tx))
					})
					if !errors.Is(err, cause) || errors.Is(err, db.ErrMaybeCommitted) {
						t.Errorf("the error is %v", err)
					}
					if got := diary.take(); got != "write, rollback" && got != "rollback" && got != "write, write, rollback" {
						t.Errorf("it happened that %q", got)
					}
				})
			})
		}
	}
}

// TestLostCommit: where nobody knows, clients are made to look.
func TestLostCommit(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	for _, c := range []struct{ fail, dead error }{
		{driver.ErrBadConn, nil},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), nil},
		{io.EOF, nil},
		{reset, nil},
		{syscall.EPIPE, nil},
		{net.ErrClosed, nil},
		{context.DeadlineExceeded, nil}, // of the driver's own
		{errors.New("invalid connection"), errors.New("it is dead")},
	} {
		t.Run(c.fail.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, diary := open(t)
				diary.failCommit, diary.dead = c.fail, c.dead
				ctx, cancel := context.WithCancel(t.Context())
				diary.onCommit = cancel
				err := d.InTx(ctx, nil, emit("a"))
				if !errors.Is(err, db.ErrMaybeCommitted) || errors.Is(err, db.ErrUnannounced) || isContext(err) {
					t.Errorf("the error is %v", err)
				}
				diary.expect(t, "write, commit, emit updated a")

				diary.failEmit["a"] = errDown
				err = d.InTx(t.Context(), nil, emit("a"))
				if !errors.Is(err, db.ErrMaybeCommitted) || !errors.Is(err, db.ErrUnannounced) || isContext(err) {
					t.Errorf("without a log, the error is %v", err)
				}
			})
		})
	}
}

// TestPanicOfTheDriver: also that of a COMMIT says nothing of the outcome, and neither it
// nor that of a ROLLBACK keeps anybody waiting.
func TestPanicOfTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, diary := open(t)
		diary.onCommit = func() { panic("the driver's") }
		if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, db.ErrMaybeCommitted) || !strings.Contains(err.Error(), "the driver's") {
			t.Errorf("the error is %v", err)
		}
		diary.expect(t, "write, commit, emit updated a")
		diary.onCommit = nil
		diary.panicRollback = true
		if err := d.InTx(t.Context(), nil, func(*db.Tx) error { return errDown }); !errors.Is(err, errDown) || !strings.Contains(err.Error(), "the driver's") {
			t.Errorf("the error is %v", err)
		}
		diary.expect(t, "rollback")
		if err := d.InTx(t.Context(), nil, emit("a")); err != nil {
			t.Error(err)
		}
		diary.expect(t, "write, commit, emit updated a")
	})
}

// TestFunctionHasEndedTheTransaction: past InTx, by the transaction within.
func TestFunctionHasEndedTheTransaction(t *testing.T) {
	d, diary := open(t)
	err := d.InTx(t.Context(), nil, func(tx *db.Tx) error { return errors.Join(emit("a")(tx), tx.Tx.Commit()) })
	if !errors.Is(err, db.ErrMaybeCommitted) || !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("the error is %v", err)
	}
	diary.expect(t, "write, commit, emit updated a")
}

// TestSilentDatabase: no call of the database is waited for without end.
func TestSilentDatabase(t *testing.T) {
	changed := errors.New("changed my mind")
	for _, c := range []struct {
		hang string
		fail error
		want error
		said string
	}{
		{"begin", nil, db.ErrNoAnswer, ""},
		{"commit", nil, db.ErrMaybeCommitted, "write, commit, emit updated a"},
		{"rollback", changed, changed, "write, rollback"},
	} {
		t.Run(c.hang, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, diary := open(t)
				diary.hang = c.hang
				began := time.Now()
				err := d.InTx(context.Background(), nil, func(tx *db.Tx) error { return errors.Join(emit("a")(tx), c.fail) })
				if !errors.Is(err, c.want) || isContext(err) {
					t.Errorf("the error is %v", err)
				}
				if took := time.Since(began); took != 30*time.Second {
					t.Errorf("it took %v", took)
				}
				diary.expect(t, c.said)
				diary.hang = ""
				if err := d.InTx(t.Context(), nil, emit("a")); err != nil { // no lock is left
					t.Error(err)
				}
			})
		})
	}
}

// TestSilentLog: the end of the time to announce is not the end of the caller's.
func TestSilentLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, diary := open(t)
		diary.attended = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.InTx(ctx, nil, emit("a")); !errors.Is(err, db.ErrUnannounced) || isContext(err) {
			t.Errorf("the error is %v", err)
		}
		diary.expect(t, "write, commit")
	})
}

// TestFunctionDoesNotReturn: a panic, and what t.FailNow does, roll back.
func TestFunctionDoesNotReturn(t *testing.T) {
	d, diary := open(t)
	for name, leave := range map[string]func(){"panic": func() { panic("oops") }, "Goexit": runtime.Goexit} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer func() { _ = recover() }()
			_ = d.InTx(context.Background(), nil, func(tx *db.Tx) error {
				_ = emit("a")(tx)
				leave()
				return nil
			})
		}()
		<-ended
		if got := diary.take(); got != "write, rollback" {
			t.Errorf("%s: it happened that %q", name, got)
		}
	}
	if err := d.InTx(t.Context(), nil, emit("a")); err != nil {
		t.Error(err)
	}
}

// TestDeadConnectionOfThePool: BEGIN is tried again, as sql.DB.BeginTx does.
func TestDeadConnectionOfThePool(t *testing.T) {
	d, diary := open(t)
	diary.failBegin = 2
	if err := d.InTx(t.Context(), nil, emit("a")); err != nil {
		t.Error(err)
	}
	diary.expect(t, "write, commit, emit updated a")
}

// What a driver makes of the end of a context in the middle of a statement is its
// own matter: the caller is told that it was the context.
func TestContextEndsInTheFunction(t *testing.T) {
	for name, cause := range map[string]error{
		"bad connection": driver.ErrBadConn, "transaction done": sql.ErrTxDone, "another context": context.Canceled,
		"one of the function's": errors.New("changed my mind"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, diary := open(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := d.InTx(ctx, nil, func(*db.Tx) error {
					<-ctx.Done()
					return cause
				})
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cause) {
					t.Errorf("the error is %v, and not also that of the context", err)
				}
				diary.expect(t, "rollback")
			})
		})
	}
}

// What is emitted through a Tx that was kept would be announced by nobody: it is refused,
// however the transaction has ended.
func TestEmitAfterTheEnd(t *testing.T) {
	d, diary := open(t)
	for name, leave := range map[string]func() error{
		"commit": func() error { return nil }, "rollback": func() error { return errDown }, "panic": func() error { panic("oops") },
	} {
		var kept *db.Tx
		func() {
			defer func() { _ = recover() }()
			_ = d.InTx(t.Context(), nil, func(tx *db.Tx) error {
				kept = tx
				return leave()
			})
		}()
		diary.take()
		if err := kept.Emit(realtime.DocumentUpdated("todos", "a")); !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("after a %s: %v", name, err)
		}
		diary.expect(t, "")
	}
}
