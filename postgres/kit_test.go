//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// patience is how long a test waits for what ends the wait when it happens.
const patience = time.Minute

// server returns where a database is that tests share.
func server(t testing.TB) (url string) {
	t.Helper()
	return pgserver.Shared(t).URL("postgres")
}

func TestMain(m *testing.M) { os.Exit(pgserver.Main(m)) }

var schemas atomic.Int64

// newSchema returns the name of a schema that no other test uses.
func newSchema() string { return fmt.Sprint("test", schemas.Add(1)) }

// migrated makes a schema in a database.
func migrated(t testing.TB, url string) (schema string) {
	t.Helper()
	schema = newSchema()
	if err := postgres.Migrate(t.Context(), postgres.Options{URL: url, Schema: schema}); err != nil {
		t.Fatal(err)
	}
	return schema
}

// open returns a node.
func open(t testing.TB, url, schema string, change func(*postgres.Options)) *postgres.Backend {
	t.Helper()
	o := postgres.Options{URL: url, Schema: schema, Events: 1000}
	if change != nil {
		change(&o)
	}
	b, err := postgres.NewBackend(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

// database returns connections of a host.
func database(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func run(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func head(t testing.TB, b backend.Backend) backend.Position {
	t.Helper()
	page, err := b.Read(t.Context(), backend.Position{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return page.Head
}

// fill appends n records and returns the position of the last one.
func fill(t testing.TB, b backend.Backend, n int) (last backend.Position) {
	t.Helper()
	for i := range n {
		var err error
		if last, err = b.Append(t.Context(), backend.Entry{Data: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// eventually waits until f reports true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for began := time.Now(); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// mustNot checks that a role is refused statements.
func mustNot(t testing.TB, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: the error is %v", sql, err)
		}
	}
}
