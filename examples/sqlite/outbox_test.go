package sqlite_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/sqlite"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

func TestOutbox(t *testing.T) {
	srv := realtimetest.New(t, realtime.Policy{}, nil)
	rec := srv.Record(realtime.EventMatch{Resource: "db"})
	sqlDB := open(t)
	outbox, err := sqlite.NewOutbox(t.Context(), sqlDB, srv.Realtime)
	if err != nil {
		t.Fatal(err)
	}
	add := func(end func(*sql.Tx) error, ids ...string) {
		t.Helper()
		tx, err := sqlDB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if err := outbox.Add(t.Context(), tx, realtime.DocumentCreated("orders", id)); err != nil {
				t.Fatal(err)
			}
		}
		if err := end(tx); err != nil {
			t.Fatal(err)
		}
	}
	add((*sql.Tx).Commit, "1", "2")
	add((*sql.Tx).Rollback, "3")
	add((*sql.Tx).Commit, "4")

	srv.Log.FailAfterStore(1)
	if err := outbox.Emit(t.Context()); !errors.Is(err, realtime.ErrMaybeStored) {
		t.Errorf("without an answer of the log: %v", err)
	}
	srv.Log.FailAppend(1, errors.New("the log is down"))
	if err := outbox.Emit(t.Context()); err == nil {
		t.Error("no error without a log")
	}
	for range 2 { // the second time there is nothing to do
		if err := outbox.Emit(t.Context()); err != nil {
			t.Error(err)
		}
	}
	rec.Expect(realtime.EventMatch{Key: "1"}, realtime.EventMatch{Key: "2"}, realtime.EventMatch{Key: "4"})
	rec.None()
	var left int
	if err := sqlDB.QueryRow(`SELECT count(*) FROM outbox`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d are left, %v", left, err)
	}

	tx, err := sqlDB.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := outbox.Add(t.Context(), tx, realtime.RenEvent{}); !errors.Is(err, realtime.ErrBadEvent) {
		t.Errorf("of an event that nobody would emit: %v", err)
	}
}
