//go:build unix

package postgres_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/db"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

var full = flag.Bool("full", false, "take 10,000 transactions instead of 600")

func transactions() int {
	if *full {
		return 10_000
	}
	return 600
}

const writers = 16

// Promise 26: writers whose transactions roll back at random, whose contexts end around
// COMMIT, and who are killed, as the server is. What committed is in the log once, and
// nothing else is.
func TestTransactionsUnderKills(t *testing.T) {
	s := pgserver.Start(t, "fsync=off", "max_connections=200") // a kill is no crash of the machine
	url := s.URL("postgres")
	schema := migrated(t, url)
	pool := database(t, url)
	run(t, pool, `create table `+schema+`.rows (id text primary key)`)
	b := open(t, url, schema, large)
	delivered := make(map[string]int)
	f := enginetest.Follow(t, b, backend.Position{})
	n, appKills, serverKills := transactions(), 0, 0
	for done := 0; done < n; {
		app := startApp(t, url, schema)
		until := done + 50 + rand.IntN(50)
		for app.transaction() {
			done++
			if done == until && appKills%3 == 2 {
				killBackend(t, pool)
				serverKills++
			}
			if done >= until {
				break
			}
		}
		app.kill()
		appKills++
		recovered(t, pool)
	}
	quiet(t, pool)
	enginetest.Append(t, b, "end")
	for r := f.Next(t); r.ID != "end"; r = f.Next(t) {
		delivered[event(t, r).Key]++
	}
	committed := rows(t, pool, schema)
	undelivered, uncommitted, twice := 0, 0, 0
	for id := range committed {
		if delivered[id] == 0 {
			undelivered++
		}
	}
	for id, n := range delivered {
		if !committed[id] {
			uncommitted++
		}
		if n > 1 {
			twice++
		}
	}
	t.Logf("%d committed over %d kills of the app and %d of the server: %d undelivered, %d delivered and not committed, %d twice",
		len(committed), appKills, serverKills, undelivered, uncommitted, twice)
	if undelivered+uncommitted+twice > 0 || len(committed) < n/4 || serverKills == 0 {
		t.Error("promise 26 is broken, or nothing happened")
	}
}

func rows(t *testing.T, pool *pgxpool.Pool, schema string) map[string]bool {
	t.Helper()
	found, err := pool.Query(t.Context(), `select id from `+schema+`.rows`)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	set := make(map[string]bool)
	for _, id := range ids {
		set[id] = true
	}
	return set
}

// killBackend kills a process of the server, which then ends all connections and
// recovers.
func killBackend(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	var pid int
	if err := pool.QueryRow(t.Context(), `select pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func recovered(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	eventually(t, "the server answers", func() bool { return pool.Ping(t.Context()) == nil })
}

// quiet waits until no transaction of a killed app goes on.
func quiet(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	eventually(t, "all sessions of the app have ended", func() bool {
		var n int
		err := pool.QueryRow(t.Context(), `select count(*) from pg_stat_activity where application_name = 'app'`).Scan(&n)
		return err == nil && n == 0
	})
}

// app is a process of writers.
type app struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

const appURL, appSchema = "REALTIME_TEST_APP_URL", "REALTIME_TEST_APP_SCHEMA"

func startApp(t *testing.T, url, schema string) *app {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestApp$")
	cmd.Env = append(os.Environ(), appURL+"="+url, appSchema+"="+schema)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // where the test has failed before
	return &app{cmd, bufio.NewReader(out)}
}

// transaction waits until a transaction has ended; false: the app has.
func (a *app) transaction() bool {
	_, err := a.out.ReadByte()
	return err == nil
}

func (a *app) kill() {
	_ = a.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, a.out)
	_ = a.cmd.Wait() // it was killed
}

// TestApp is the process that startApp starts: writers without end, which write a byte
// for each transaction.
func TestApp(t *testing.T) {
	url, schema := os.Getenv(appURL), os.Getenv(appSchema)
	if url == "" {
		t.Skip("it is a part of TestTransactionsUnderKills")
	}
	url += "&application_name=app"
	pool, sqlDB := database(t, url+"&pool_max_conns=16"), openSQL(t, url)
	docs := db.New(openRealtime(t, open(t, url, schema, large)), sqlDB, nil)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			w := writer{schema: schema, pool: pool, sql: sqlDB, docs: docs}
			for {
				w.write()
				fmt.Print(".")
			}
		})
	}
	all.Wait()
}

// writer writes rows, and publishes about each, in one of three ways.
type writer struct {
	schema string
	pool   *pgxpool.Pool
	sql    *sql.DB
	docs   *db.DB
}

var errChanged = errors.New("changed my mind")

// write makes one transaction. Its error does not matter: what is stored is compared.
func (w *writer) write() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	id := rand.Uint64()
	ev := realtime.DocumentCreated("rows", fmt.Sprint(id))
	box, insert := postgres.Outbox{Schema: w.schema}, `insert into `+w.schema+`.rows values ($1)`
	end := func() error {
		switch rand.IntN(5) {
		case 0:
			return errChanged
		case 1:
			time.AfterFunc(rand.N(2*time.Millisecond), cancel)
		}
		return nil
	}
	switch rand.IntN(3) {
	case 0:
		_ = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, insert, ev.Key)
			return errors.Join(err, box.Emit(ctx, tx, ev), end())
		})
	case 1:
		tx, err := w.sql.BeginTx(ctx, nil)
		if err != nil {
			return
		}
		_, err = tx.ExecContext(ctx, insert, ev.Key)
		if errors.Join(err, box.Emit(ctx, postgres.SQL(tx), ev), end()) != nil {
			_ = tx.Rollback()
			return
		}
		_ = tx.Commit()
	case 2:
		_ = w.docs.InTx(ctx, nil, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, insert, ev.Key)
			return errors.Join(err, tx.Emit(ev), end())
		})
	}
}
