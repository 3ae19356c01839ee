package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/maravilla-realtime/realtime/examples/sqlite"
	"github.com/maravilla-realtime/realtime/kv"
	"github.com/maravilla-realtime/realtime/kv/kvtest"
	_ "modernc.org/sqlite"
)

func openFile(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(60000)&_txlock=immediate")
}

// open returns an empty database.
func open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := openFile(filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestKVConformance(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Engine {
		engine, err := sqlite.NewKV(context.Background(), open(t))
		if err != nil {
			t.Fatal(err)
		}
		return engine
	})
}
