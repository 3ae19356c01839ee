//go:build unix

package postgrestest_test

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
)

// start starts a server and returns a database of it, which is empty.
func start(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", pgserver.Start(t).URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(workers + 2)
	db.SetMaxIdleConns(workers + 2)
	return db
}
