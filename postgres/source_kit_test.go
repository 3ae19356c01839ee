//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// followed is a database with tables that a source may follow into a log in the same
// database.
type followed struct {
	t           testing.TB
	server      *pgserver.Server
	url, schema string // of the log; the publication and the slot have the name of the schema
	pool        *pgxpool.Pool
	b           *postgres.Backend
	log         *enginetest.Follower
}

// newFollowed makes a database on a server, and runs statements in it. "$pub" in them is
// the name of the publication.
func newFollowed(t testing.TB, s *pgserver.Server, statements ...string) *followed {
	t.Helper()
	name := newSchema()
	run(t, database(t, s.URL("postgres")), `create database `+name)
	w := &followed{t: t, server: s, url: s.URL(name), pool: database(t, s.URL(name))}
	w.schema = migrated(t, w.url)
	t.Cleanup(w.dropSlot)
	w.do(statements...)
	w.b = open(t, w.url, w.schema, large)
	w.log = enginetest.Follow(t, w.b, backend.Position{})
	return w
}

func (w *followed) do(statements ...string) {
	w.t.Helper()
	for _, sql := range statements {
		run(w.t, w.pool, strings.ReplaceAll(sql, "$pub", w.schema))
	}
}

// source starts a source of a node of its own.
func (w *followed) source(o postgres.SourceOptions) *postgres.Source {
	w.t.Helper()
	s, err := w.trySource(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *followed) trySource(o postgres.SourceOptions) (*postgres.Source, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	}
	s, err := postgres.NewSource(w.t.Context(), open(w.t, w.url, w.schema, large), o)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { closeSource(w.t, s) })
	return s, nil
}

func closeSource(t testing.TB, s *postgres.Source) {
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// dropSlot removes the slot, so that it does not keep what other tests write.
func (w *followed) dropSlot() {
	ctx := context.Background()
	eventually(w.t, "the slot is dropped", func() bool {
		_, err := w.pool.Exec(ctx, `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1`, w.schema)
		return err == nil
	})
}

// streaming waits until the slot is followed.
func (w *followed) streaming() {
	w.t.Helper()
	eventually(w.t, "the slot is followed", func() bool {
		var active bool
		err := w.pool.QueryRow(w.t.Context(), `select active from pg_replication_slots where slot_name = $1`, w.schema).Scan(&active)
		return err == nil && active
	})
}

// tell describes an event, without the parts of its type that all have.
func tell(ev backend.Event) string {
	if ev.IsReset() {
		return "reset " + ev.Key
	}
	parts := []string{strings.TrimPrefix(ev.Type, "db.document."), ev.Namespace, ev.Key, string(ev.Data), ev.User}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

// said reads the log up to an event of the test's own, and returns what the source has said.
func (w *followed) said() (told []string) {
	w.t.Helper()
	for _, ev := range w.events() {
		told = append(told, tell(ev))
	}
	return told
}

var marks int

// events is said as events. A row of the table marks, which must be published, tells where to stop.
func (w *followed) events() (events []backend.Event) {
	w.t.Helper()
	marks++
	mark := fmt.Sprint(marks)
	w.do(`insert into marks values (` + mark + `)`)
	for {
		ev := event(w.t, w.log.Next(w.t))
		if ev.Namespace == "marks" && ev.Key == mark {
			return events
		}
		events = append(events, ev)
	}
}

// want compares what was said.
func (w *followed) want(want ...string) {
	w.t.Helper()
	if got := w.said(); !slices.Equal(got, want) {
		w.t.Errorf("told\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// tx runs a function in a transaction.
func (w *followed) tx(f func(tx pgx.Tx) error) {
	w.t.Helper()
	if err := pgx.BeginFunc(w.t.Context(), w.pool, f); err != nil {
		w.t.Fatal(err)
	}
}

// published are statements that publish the given tables, and marks.
func published(tables string, statements ...string) []string {
	return append(append([]string{`create table marks (id bigint primary key)`}, statements...), `create publication $pub for table marks, `+tables)
}
