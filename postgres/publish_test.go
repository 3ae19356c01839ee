//go:build unix

package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/db"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

func openSQL(t testing.TB, url string) *sql.DB {
	t.Helper()
	sqlDB, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sqlDB.Close() })
	return sqlDB
}

func event(t testing.TB, r backend.Record) backend.Event {
	t.Helper()
	p, err := backend.DecodePayload(r.Data)
	if err != nil {
		t.Fatal(err)
	}
	return p.Event
}

// What a transaction publishes is delivered if it commits, in its order, and never if
// it rolls back, with either kind of driver.
func TestPublishInTransactions(t *testing.T) {
	url := server(t)
	box := postgres.Outbox{Schema: migrated(t, url)}
	b := open(t, url, box.Schema, nil)
	f := enginetest.Follow(t, b, backend.Position{})
	pool, sqlDB := database(t, url), openSQL(t, url)
	publish := func(tx postgres.Tx, n int) error {
		return errors.Join(box.Publish(t.Context(), tx, "room", n, realtime.AsUser("ada"), realtime.FromClient("0123456789abcdef")),
			box.Emit(t.Context(), tx, realtime.DocumentCreated("orders", fmt.Sprint(n))))
	}
	withPgx := func(n int, err error) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return errors.Join(publish(tx, n), err) })
	}
	withSQL := func(n int, err error) error {
		tx, begin := sqlDB.BeginTx(t.Context(), nil)
		if begin != nil {
			return begin
		}
		if err := errors.Join(publish(postgres.SQL(tx), n), err); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
	changed := errors.New("changed my mind")
	for i, do := range []func(int, error) error{withPgx, withSQL} {
		if err := do(100+i, changed); !errors.Is(err, changed) {
			t.Error(err)
		}
		if err := do(i, nil); err != nil {
			t.Fatal(err)
		}
		message, created := event(t, f.Next(t)), event(t, f.Next(t))
		if string(message.Data) != fmt.Sprint(i) || message.Channel != "room" || message.User != "ada" || message.Source == "" || message.UnixMilli == 0 {
			t.Errorf("the message is %+v", message)
		}
		if created.Type != "db.document.created" || created.Key != fmt.Sprint(i) {
			t.Errorf("the event is %+v", created)
		}
	}
}

// What is no good is refused before it is stored.
func TestPublishRefuses(t *testing.T) {
	url := server(t)
	box := postgres.Outbox{Schema: migrated(t, url)}
	var at realtime.Cursor
	pool := database(t, url)
	for _, c := range []struct {
		want error
		do   func(tx postgres.Tx) error
	}{
		{realtime.ErrBadChannel, func(tx postgres.Tx) error { return box.Publish(t.Context(), tx, "$x", 1) }},
		{realtime.ErrTooLarge, func(tx postgres.Tx) error { return box.Publish(t.Context(), tx, "room", strings.Repeat("x", 1<<20)) }},
		{realtime.ErrBadOption, func(tx postgres.Tx) error {
			return box.Publish(t.Context(), tx, "room", 1, realtime.PublishedAt(&at))
		}},
		{realtime.ErrBadEvent, func(tx postgres.Tx) error { return box.Emit(t.Context(), tx, realtime.RenEvent{}) }},
	} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if err := c.do(tx); !errors.Is(err, c.want) {
				t.Errorf("the error is %v, want %v", err, c.want)
			}
			return nil // the transaction is as good as before
		})
		if err != nil {
			t.Error(err)
		}
	}
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return postgres.Outbox{Schema: "nowhere"}.Publish(t.Context(), tx, "room", 1)
	})
	if err == nil {
		t.Error("a schema that does not exist took a message")
	}
}

// An id is the same one in a transaction and out of it.
func TestIDInTransaction(t *testing.T) {
	url := server(t)
	box := postgres.Outbox{Schema: migrated(t, url)}
	b := open(t, url, box.Schema, nil)
	f := enginetest.Follow(t, b, backend.Position{})
	enginetest.Append(t, b, "once")
	for range 2 {
		err := pgx.BeginFunc(t.Context(), database(t, url), func(tx pgx.Tx) error {
			return errors.Join(box.Publish(t.Context(), tx, "room", 1, realtime.WithID("once")),
				box.Publish(t.Context(), tx, "room", 2, realtime.WithID("twice")), box.Publish(t.Context(), tx, "room", 2, realtime.WithID("twice")))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	enginetest.Append(t, b, "end")
	got := f.Next(t).ID + f.Next(t).ID + f.Next(t).ID
	if got != "oncetwiceend" {
		t.Errorf("the log has the ids %q", got)
	}
}

// What committed before an Append is before it in the log.
func TestCommittedComesFirst(t *testing.T) {
	url := server(t)
	box := postgres.Outbox{Schema: migrated(t, url)}
	b := open(t, url, box.Schema, nil)
	f := enginetest.Follow(t, b, backend.Position{})
	pool := database(t, url)
	for i := range 50 {
		if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return box.Publish(t.Context(), tx, "room", i) }); err != nil {
			t.Fatal(err)
		}
		enginetest.Append(t, b, fmt.Sprint("after ", i))
		if ev := event(t, f.Next(t)); string(ev.Data) != fmt.Sprint(i) {
			t.Fatalf("transaction %d: %+v", i, ev)
		}
		if got := string(f.Next(t).Data); got != fmt.Sprint("after ", i) {
			t.Fatalf("after transaction %d came %q", i, got)
		}
	}
}

// A node that is not elected delivers as well, while the elected one hangs.
func TestElectedNodeHangs(t *testing.T) {
	url := server(t)
	box := postgres.Outbox{Schema: migrated(t, url)}
	pool := database(t, url)
	// The holder of this lock is elected, and does nothing.
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), `select pg_advisory_lock(hashtextextended('maravilla realtime outbox "`+box.Schema+`"', 0))`); err != nil {
		t.Fatal(err)
	}
	b := open(t, url, box.Schema, nil)
	f := enginetest.Follow(t, b, backend.Position{})
	if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return box.Publish(t.Context(), tx, "room", 1) }); err != nil {
		t.Fatal(err)
	}
	f.Next(t)
	if _, err := conn.Exec(t.Context(), `select pg_advisory_unlock_all()`); err != nil {
		t.Fatal(err)
	}
}

func openRealtime(t *testing.T, b backend.Backend) *realtime.Realtime {
	t.Helper()
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: b, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close(context.Background()) })
	return rt
}

// Package db uses the outbox where the log is in its database: another process delivers
// what one wrote that then died.
func TestInTxUsesTheOutbox(t *testing.T) {
	url := server(t)
	schema := migrated(t, url)
	b := open(t, url, schema, nil)
	rt := openRealtime(t, b)
	docs := db.New(rt, openSQL(t, url), nil)
	start := rt.Cursor()
	pool := database(t, url)
	run(t, pool, `create table `+schema+`.orders (id text primary key)`)
	if err := docs.InTx(t.Context(), nil, func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), `insert into `+schema+`.orders values ('1')`)
		return errors.Join(err, tx.Emit(realtime.DocumentCreated("orders", "1")))
	}); err != nil {
		t.Fatal(err)
	}
	if err := rt.Publish(t.Context(), "room", "after"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{}, start) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, ev.Type+ev.Key); len(got) == 2 {
			break
		}
	}
	if strings.Join(got, " ") != "db.document.created1 realtime.message" {
		t.Errorf("the events are %q", got)
	}

	// The node has died: whatever InTx did by itself after the commit would be lost.
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := docs.InTx(t.Context(), nil, func(tx *db.Tx) error { return tx.Emit(realtime.DocumentUpdated("orders", "1")) }); err != nil {
		t.Fatal(err)
	}
	other := open(t, url, schema, nil)
	enginetest.Append(t, other, "end")
	f := enginetest.Follow(t, other, backend.Position{})
	f.Next(t)
	f.Next(t)
	if ev := event(t, f.Next(t)); ev.Type != "db.document.updated" {
		t.Errorf("the other node reads %+v", ev)
	}
}

// Another database, and a role that may not publish, are told apart.
func TestShares(t *testing.T) {
	s := pgserver.Shared(t)
	schema := migrated(t, s.URL("postgres"))
	b := open(t, s.URL("postgres"), schema, nil)
	pool := database(t, s.URL("postgres"))
	other, role := "other_"+schema, "stranger_to_"+schema
	run(t, pool, `create database `+other)
	run(t, pool, `create role `+role+` login`)
	t.Cleanup(func() {
		_, _ = pool.Exec(context.Background(), `drop database `+other+` (force)`)
		_, _ = pool.Exec(context.Background(), `drop owned by `+role)
		_, _ = pool.Exec(context.Background(), `drop role `+role)
	})
	for url, want := range map[string]bool{s.URL("postgres"): true, s.URL(other): false} {
		if got, err := b.Shares(t.Context(), openSQL(t, url)); got != want || err != nil {
			t.Errorf("%s: %v, %v", url, got, err)
		}
	}
	if err := postgres.Migrate(t.Context(), postgres.Options{URL: s.URL(other), Schema: schema}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Shares(t.Context(), openSQL(t, s.URL(other))); got || err != nil {
		t.Errorf("another deployment: %v, %v", got, err)
	}
	stranger := openSQL(t, s.URLAs(role, "postgres"))
	if _, err := b.Shares(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), "grant insert on") {
		t.Errorf("without privileges: %v", err)
	}
	run(t, pool, `grant usage on schema `+schema+` to `+role)
	run(t, pool, `grant select on `+schema+`.state to `+role)
	if _, err := b.Shares(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), "grant insert on") {
		t.Errorf("without the privilege to insert: %v", err)
	}
	grant(t, s, postgres.PublisherGrants, schema, role)
	if got, err := b.Shares(t.Context(), stranger); !got || err != nil {
		t.Errorf("with all privileges: %v, %v", got, err)
	}
	if _, err := b.Shares(t.Context(), openSQL(t, "postgres:///x?host=/nowhere")); err == nil {
		t.Error("a server that does not answer is taken for another database")
	}
}
