//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// Processes that start together may all migrate, and one that starts later may again.
func TestMigrateAtOnce(t *testing.T) {
	url, schema := server(t), newSchema()
	errs := make([]error, 4)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = postgres.Migrate(t.Context(), postgres.Options{URL: url, Schema: schema}) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	b := open(t, url, schema, nil)
	pos := enginetest.Append(t, b, "kept")
	if err := postgres.Migrate(t.Context(), postgres.Options{URL: url, Schema: schema}); err != nil {
		t.Error(err)
	}
	if at := head(t, b); at != pos {
		t.Errorf("after another Migrate the head is %v, and was %v", at, pos)
	}
}

// The SQL for other tools makes what Migrate makes.
func TestSchemaIsWhatMigrateMakes(t *testing.T) {
	url, schema := server(t), newSchema()
	sql, err := postgres.Schema(schema)
	if err != nil {
		t.Fatal(err)
	}
	pool := database(t, url)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Conn().PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), postgres.Options{URL: url, Schema: schema}); err != nil {
		t.Error(err)
	}
	enginetest.Append(t, open(t, url, schema, nil), "x")
	if whole, _ := postgres.Schema(""); !strings.Contains(whole, `create schema if not exists "realtime"`) || strings.Contains(sql, `"realtime"`) {
		t.Error("the name of the schema is not in the SQL, or that of the default one is")
	}
}

func TestNewBackendRefuses(t *testing.T) {
	url := server(t)
	old := migrated(t, url)
	run(t, database(t, url), `update `+old+`.migrations set version = 0`)
	for _, c := range []struct {
		says string
		o    postgres.Options
	}{
		{"URL is missing", postgres.Options{}},
		{"Options.URL", postgres.Options{URL: "postgres://%zz"}},
		{"schema", postgres.Options{URL: url, Schema: `a"b`}},
		{"negative", postgres.Options{URL: url, Events: -1}},
		{"negative", postgres.Options{URL: url, Age: -1}},
		{"postgres.Migrate", postgres.Options{URL: url, Schema: "nowhere"}},
		{"postgres.Migrate", postgres.Options{URL: url, Schema: old}},
		{"connect", postgres.Options{URL: "postgres:///postgres?host=/nowhere&user=x"}},
	} {
		b, err := postgres.NewBackend(t.Context(), c.o)
		if err == nil {
			_ = b.Close(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: the error is %v, and does not say %q", c.o, err, c.says)
		}
	}
}

// A role with the privileges of a node, and no others, is enough for a node, and a role
// with those of a publisher for its transactions. Without them the error says what to
// grant.
func TestLeastPrivileges(t *testing.T) {
	s := pgserver.Shared(t)
	pool := database(t, s.URL("postgres"))
	schema := migrated(t, s.URL("postgres"))
	node, publisher := "node_of_"+schema, "publisher_of_"+schema
	for _, role := range []string{node, publisher} {
		run(t, pool, `create role `+role+` login`)
		t.Cleanup(func() {
			_, _ = pool.Exec(context.Background(), `drop owned by `+role)
			_, _ = pool.Exec(context.Background(), `drop role `+role)
		})
	}
	o := postgres.Options{URL: s.URLAs(node, "postgres"), Schema: schema}
	if _, err := postgres.NewBackend(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no access to the schema") {
		t.Errorf("without privileges the error is %v", err)
	}
	run(t, pool, `grant usage on schema `+schema+` to `+node)
	run(t, pool, `grant select on `+schema+`.migrations to `+node)
	if _, err := postgres.NewBackend(t.Context(), o); err == nil || !strings.Contains(err.Error(), "truncate on log_0") || !strings.Contains(err.Error(), "grant truncate on") {
		t.Errorf("with some privileges the error is %v", err)
	}
	grant(t, s, postgres.NodeGrants, schema, node)
	grant(t, s, postgres.PublisherGrants, schema, publisher)
	b := open(t, o.URL, schema, func(o *postgres.Options) { o.Events = 20 })
	f := enginetest.Follow(t, b, backend.Position{})
	for i := range 100 { // so that tables are truncated
		enginetest.Append(t, b, fmt.Sprint(i))
		f.Next(t)
	}
	k := backend.Key{Kind: "test", Group: "g", Name: "n"}
	rev, err := b.Put(t.Context(), backend.Write{Key: k, Value: []byte("v")})
	if err == nil {
		rev, err = b.Put(t.Context(), backend.Write{Key: k, Value: []byte("w"), If: rev})
	}
	if err == nil {
		err = b.Delete(t.Context(), k, rev, nil)
	}
	if err != nil {
		t.Error(err)
	}
	mustNot(t, database(t, o.URL), `drop table `+schema+`.log`, `insert into `+schema+`.outbox (id, data) values ('', '')`)
	host := database(t, s.URLAs(publisher, "postgres"))
	run(t, host, `insert into `+schema+`.outbox (id, data) values ('', 'published')`)
	if got := string(f.Next(t).Data); got != "published" {
		t.Errorf("the publisher's record is %q", got)
	}
	mustNot(t, host, `select from `+schema+`.outbox`, `select from `+schema+`.log`, `select from `+schema+`.store`,
		`insert into `+schema+`.log values (0, 1, 1, '', 0, now(), '')`, `update `+schema+`.state set epoch = 1`)
}

func grant(t *testing.T, s *pgserver.Server, grants func(schema, role string) (string, error), schema, role string) {
	t.Helper()
	sql, err := grants(schema, role)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range strings.Split(strings.TrimSpace(sql), ";\n") {
		run(t, database(t, s.URL("postgres")), statement)
	}
}
