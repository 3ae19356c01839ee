package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/db"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

func TestCommitAnnounces(t *testing.T) {
	d, diary := open(t)
	err := d.InTx(t.Context(), nil, func(tx *db.Tx) error {
		if _, err := tx.Exec("insert"); err != nil {
			return err
		}
		return errors.Join(tx.Emit(realtime.DocumentCreated("todos", "b")), tx.Emit(realtime.DocumentUpdated("todos", "a")),
			tx.Emit(realtime.DocumentDeleted("todos", "b")))
	})
	if err != nil {
		t.Error(err)
	}
	diary.expect(t, "insert, commit, emit created b, emit updated a, emit deleted b")

	if err := d.InTx(t.Context(), nil, emit()); err != nil {
		t.Error(err)
	}
	diary.expect(t, "write, commit")
}

func TestRollbackDoesNot(t *testing.T) {
	d, diary := open(t)
	changed := errors.New("changed my mind")
	err := d.InTx(t.Context(), nil, func(tx *db.Tx) error { return errors.Join(emit("a")(tx), changed) })
	if !errors.Is(err, changed) {
		t.Error(err)
	}
	diary.expect(t, "write, rollback")

	func() {
		defer func() {
			if p := recover(); p != "oops" {
				t.Errorf("the panic was %v", p)
			}
		}()
		_ = d.InTx(t.Context(), nil, func(tx *db.Tx) error {
			_ = emit("a")(tx)
			panic("oops")
		})
	}()
	diary.expect(t, "write, rollback")

	diary.failCommit = errors.New("constraint")
	if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, diary.failCommit) || errors.Is(err, db.ErrUnannounced) {
		t.Error(err)
	}
	diary.expect(t, "write, commit")
	diary.failCommit = nil

	diary.failRollback = errors.New("connection lost")
	err = d.InTx(t.Context(), nil, func(tx *db.Tx) error { return changed })
	if !errors.Is(err, changed) || !errors.Is(err, diary.failRollback) {
		t.Error(err)
	}
	diary.take()

	// All locks were released.
	if err := d.InTx(t.Context(), nil, emit("a")); err != nil {
		t.Error(err)
	}
	diary.expect(t, "write, commit, emit updated a")
}

func TestBadEventsAreNotCommitted(t *testing.T) {
	d, diary := open(t)
	for name, ev := range map[string]realtime.RenEvent{
		"no event":     {},
		"message":      {Type: "realtime.message", Resource: "realtime", Channel: "room"},
		"bad id":       realtime.DocumentCreated("todos", "a\nb"),
		"bad version":  realtime.DocumentCreated("todos", "a").WithVersion("\xff"),
		"bad user":     {Type: "x", Resource: "db", User: "\x00"},
		"data no JSON": {Type: "x", Resource: "db", Data: []byte("{")},
	} {
		err := d.InTx(t.Context(), nil, func(tx *db.Tx) error { return tx.Emit(ev) })
		if !errors.Is(err, realtime.ErrBadEvent) {
			t.Errorf("%s: %v", name, err)
		}
		diary.expect(t, "rollback")
	}
	err := d.InTx(t.Context(), nil, func(tx *db.Tx) error {
		for {
			if err := tx.Emit(realtime.DocumentUpdated("todos", "a")); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, db.ErrTooMany) {
		t.Errorf("endless events: %v", err)
	}
	diary.expect(t, "rollback")
}

func TestEndedContext(t *testing.T) {
	d, diary := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.InTx(ctx, nil, emit("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("begun with an ended context: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	err := d.InTx(ctx, nil, func(tx *db.Tx) error {
		defer cancel()
		return emit("a")(tx)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the transaction: %v", err)
	}
	if got := diary.take(); got != "write, rollback" {
		t.Errorf("it happened that %q", got)
	}
}

// A function that would end its transaction itself, past the events, cannot.
func TestFunctionCannotEndTheTransaction(t *testing.T) {
	d, diary := open(t)
	for name, end := range map[string]func(*db.Tx) error{"commit": (*db.Tx).Commit, "rollback": (*db.Tx).Rollback} {
		err := d.InTx(t.Context(), nil, func(tx *db.Tx) error { return errors.Join(emit("a")(tx), end(tx)) })
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		diary.expect(t, "write, rollback")
	}
}

func TestUnannounced(t *testing.T) {
	d, diary := open(t)
	diary.failEmit["b"] = errDown
	err := d.InTx(t.Context(), nil, emit("a", "b", "c"))
	var un *db.UnannouncedError
	if !errors.Is(err, db.ErrUnannounced) || !errors.Is(err, errDown) || !errors.As(err, &un) {
		t.Fatal(err)
	}
	if len(un.Events) != 2 || un.Events[0].Key != "b" || un.Events[1].Key != "c" {
		t.Errorf("not announced: %+v", un.Events)
	}
	diary.expect(t, "write, commit, emit updated a")
}

// TestCommittedIsAnnounced: neither a request that has gone nor an unknown outcome
// keeps an event from the log, nor doubles it.
func TestCommittedIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := backendtest.NewFaulty(memory.New(memory.Limits{}))
		rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: faulty, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		diary := &diary{commits: make(chan struct{})}
		sqlDB := sql.OpenDB(diary)
		defer sqlDB.Close()
		d := db.New(rt, sqlDB, nil)
		start := rt.Cursor()

		faulty.FailAfterStore(3)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if err := d.InTx(ctx, nil, emit("a", "b")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait() // it commits
		cancel()
		diary.commits <- struct{}{}
		all.Wait()

		var got string
		for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{}, start) {
			if err != nil {
				t.Fatal(err)
			}
			if got += ev.Key; ev.Key == "b" {
				break
			}
		}
		if got != "ab" {
			t.Errorf("the events are %q", got)
		}

		faulty.FailAfterStore(1000)
		close(diary.commits)
		if err := d.InTx(t.Context(), nil, emit("c")); !errors.Is(err, db.ErrUnannounced) || !errors.Is(err, realtime.ErrMaybeStored) {
			t.Errorf("a log that never answers: %v", err)
		}
	})
}

// TestOneCommitsAtATime: commit and events of a document are not interleaved with
// those of another transaction; those of other documents are not held up.
func TestOneCommitsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, diary := open(t)
		diary.commits = make(chan struct{})
		var all sync.WaitGroup
		run := func(ids ...string) {
			all.Go(func() {
				if err := d.InTx(context.Background(), nil, emit(ids...)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		run("a", "b")
		diary.expect(t, "write, commit")
		run("c", "b")
		diary.expect(t, "write")
		run("d")
		diary.expect(t, "write, commit")
		for range 3 {
			diary.commits <- struct{}{}
			synctest.Wait()
		}
		all.Wait()
		const first, second = "emit updated a, emit updated b, commit, ", "emit updated c, emit updated b"
		got := strings.Replace(diary.take(), "emit updated d, ", "", 1) // which comes at any time
		if got != first+second {
			t.Errorf("it happened that %q, want %q", got, first+second)
		}
	})
}

// TestBusy: who waits too long for a document is rolled back.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, diary := open(t)
		diary.commits = make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			if err := d.InTx(t.Context(), nil, emit("a")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		began := time.Now()
		if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, db.ErrBusy) {
			t.Error(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.InTx(ctx, nil, emit("a")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, db.ErrBusy) {
			t.Error(err)
		}
		diary.expect(t, "write, commit, write, rollback, write, rollback")
		close(diary.commits)
		all.Wait()
		diary.expect(t, "emit updated a")
	})
}

// TestNoCircle: many transactions with the documents in any order come to an end.
func TestNoCircle(t *testing.T) {
	d, _ := open(t)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for j := range 20 {
				ids := []string{fmt.Sprint(i % 3), fmt.Sprint(j % 3), fmt.Sprint((i + j) % 3)}
				if err := d.InTx(t.Context(), nil, emit(ids...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
