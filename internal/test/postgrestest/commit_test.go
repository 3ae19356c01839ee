//go:build unix

package postgrestest_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/db"
)

var full = flag.Bool("full", false, "take 10,000 transactions instead of 2,000, and 20 kills instead of 4")

const workers = 8

// times multiplies a number of the short form.
func times(n int) int {
	if *full {
		return 5 * n
	}
	return n
}

var errChanged = errors.New("changed my mind")

// app is a host with a table, whose rows are named by a number.
type app struct {
	t    *testing.T
	rt   *realtime.Realtime
	sql  *sql.DB
	docs *db.DB
	from realtime.Cursor

	mu   sync.Mutex
	last int
	said map[string]error // what InTx returned, by row
}

func open(t *testing.T) *app {
	t.Helper()
	sqlDB := start(t)
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close(context.Background()) })
	if _, err := sqlDB.Exec(`CREATE TABLE rows (id TEXT PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	return &app{t: t, rt: rt, sql: sqlDB, docs: db.New(rt, sqlDB, nil), from: rt.Cursor(), said: map[string]error{}}
}

// insert stores a row of its own and announces it; end is called in the
// transaction, when nothing but the commit is left.
func (a *app) insert(ctx context.Context, end func() error) error {
	a.mu.Lock()
	a.last++
	id := fmt.Sprint(a.last)
	a.mu.Unlock()
	once := func() error {
		return a.docs.InTx(ctx, nil, func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx, `INSERT INTO rows VALUES ($1)`, id); err != nil {
				return err
			}
			return errors.Join(tx.Emit(realtime.DocumentCreated("rows", id)), end())
		})
	}
	err := once()
	for errors.Is(err, syscall.EAGAIN) { // a starved server has no room for another connection
		time.Sleep(10 * time.Millisecond)
		err = once()
	}
	a.mu.Lock()
	a.said[id] = err
	a.mu.Unlock()
	return err
}

// stored returns the rows there are.
func (a *app) stored() map[string]bool {
	a.t.Helper()
	rows, err := a.sql.Query(`SELECT id FROM rows`)
	if err != nil {
		a.t.Fatal(err)
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			a.t.Fatal(err)
		}
		found[id] = true
	}
	if err := rows.Err(); err != nil {
		a.t.Fatal(err)
	}
	return found
}

// announced returns the rows of which there was an event.
func (a *app) announced() map[string]bool {
	a.t.Helper()
	if err := a.rt.Emit(context.Background(), realtime.KVPut("end", "end")); err != nil {
		a.t.Fatal(err)
	}
	found := map[string]bool{}
	for ev, err := range a.rt.EventsAfter(context.Background(), realtime.EventMatch{}, a.from) {
		if err != nil {
			a.t.Fatal(err)
		}
		if ev.Namespace == "end" {
			break
		}
		if found[ev.Key] {
			a.t.Errorf("row %s was announced twice", ev.Key)
		}
		found[ev.Key] = true
	}
	return found
}

// check compares what is stored, what was announced, and what InTx has said. It
// returns how many rows are stored, and of how many nobody knew.
func (a *app) check() (stored, unknown int) {
	a.t.Helper()
	rows, events := a.stored(), a.announced()
	for id, err := range a.said {
		row, event := rows[id], events[id]
		ended := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
		switch {
		case errors.Is(err, db.ErrMaybeCommitted):
			unknown++
			if !event || ended {
				a.t.Errorf("row %s is perhaps stored: announced %v: %v", id, event, err)
			}
		case row != (err == nil) || event != row:
			a.t.Errorf("row %s is stored: %v, announced: %v, and InTx said %v", id, row, event, err)
		case row:
			stored++
		}
	}
	return stored, unknown
}

// run has workers call f with numbers until it has been called n times.
func run(n int, f func(i int)) {
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	all.Wait()
}

// commitTime returns how long the second half of an undisturbed transaction takes
// here, when all workers have some.
func (a *app) commitTime() time.Duration {
	var mu sync.Mutex
	var sum time.Duration
	const n = 10 * workers
	run(n, func(int) {
		var began time.Time
		if err := a.insert(a.t.Context(), func() error { began = time.Now(); return nil }); err != nil {
			a.t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		sum += time.Since(began)
	})
	return sum / n
}

// Promise 26: contexts that end around COMMIT, functions that fail, and neither
// a row without its event nor an event without its row.
func TestContextsEndAroundCommit(t *testing.T) {
	a := open(t)
	window := max(1500*time.Microsecond, 2*a.commitTime())
	var mu sync.Mutex
	var late, early, failed int // contexts that ended after the COMMIT began, before it, and functions
	run(times(2000), func(i int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if i%4 == 0 {
			ctx, cancel = context.WithTimeout(ctx, window+rand.N(window))
			defer cancel()
		}
		err := a.insert(ctx, func() error {
			if i%50 == 0 {
				return errChanged
			}
			time.AfterFunc(rand.N(window), cancel)
			time.Sleep(rand.N(window / 2))
			return nil
		})
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, errChanged):
			failed++
		case err != nil:
			early++
			if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
				t.Errorf("the error is %v, that of the context %v", err, ctx.Err())
			}
		case ctx.Err() != nil:
			late++
		}
	})
	stored, unknown := a.check()
	t.Logf("%d stored, %d of them for contexts that ended in the COMMIT or after; %d ended before it; %d failed; window %v",
		stored, late, early, failed, window)
	if late == 0 || early == 0 || failed == 0 || unknown > 0 {
		t.Errorf("the contexts did not end around COMMIT, or %d outcomes are unknown", unknown)
	}
}

// Promise 26: the server is killed in the middle of it.
func TestKilledServer(t *testing.T) {
	a := open(t)
	kills := times(4)
	for range kills {
		var pid int
		if err := a.sql.QueryRow(`SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		after := 20 + rand.IntN(80)
		run(200, func(i int) {
			if i == after {
				_ = syscall.Kill(pid, syscall.SIGKILL) // the server then ends all its connections
			}
			_ = a.insert(t.Context(), func() error { return nil })
		})
		a.recovered()
	}
	stored, unknown := a.check()
	t.Logf("%d stored, %d unknown after %d kills", stored, unknown, kills)
	if failed := len(a.said) - stored - unknown; failed == 0 || stored == 0 {
		t.Errorf("%d stored, %d failed: nothing was killed, or everything", stored, failed)
	}
}

// recovered waits for the server to be there again.
func (a *app) recovered() {
	a.t.Helper()
	var err error
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if err = a.sql.Ping(); err == nil {
			return
		}
	}
	a.t.Fatalf("the server does not come back: %v", err)
}

// A commit that the database refuses is no unknown outcome: nothing is announced.
func TestRefusedCommit(t *testing.T) {
	a := open(t)
	if _, err := a.sql.Exec(`CREATE TABLE refs (id TEXT REFERENCES rows DEFERRABLE INITIALLY DEFERRED)`); err != nil {
		t.Fatal(err)
	}
	err := a.docs.InTx(t.Context(), nil, func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO refs VALUES ('nowhere')`)
		return errors.Join(err, tx.Emit(realtime.DocumentCreated("refs", "nowhere")))
	})
	if err == nil || errors.Is(err, db.ErrMaybeCommitted) || errors.Is(err, db.ErrUnannounced) {
		t.Errorf("a violated constraint is %v", err)
	}
	err = a.docs.InTx(t.Context(), nil, func(tx *db.Tx) error {
		_, _ = tx.Exec(`SELECT * FROM nowhere`) // the function swallows what has failed the transaction
		return tx.Emit(realtime.DocumentCreated("refs", "swallowed"))
	})
	if err == nil || errors.Is(err, db.ErrMaybeCommitted) || errors.Is(err, db.ErrUnannounced) {
		t.Errorf("a failed transaction is %v", err)
	}
	if events := a.announced(); len(events) > 0 {
		t.Errorf("announced %v", events)
	}
}

// A server that is ended while a COMMIT waits has not said what became of it.
func TestConnectionEndedInCommit(t *testing.T) {
	a := open(t)
	pids := make(chan int, 1)
	// The commit waits in a deferred trigger, until its connection is ended.
	for _, statement := range []string{
		`CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NULL; END'`,
		`CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON rows DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()`,
	} {
		if _, err := a.sql.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		pid := <-pids
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(5 * time.Millisecond) {
			var ended bool
			err := a.sql.QueryRow(`SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity
				WHERE pid = $1 AND query ILIKE 'commit%' AND state = 'active'`, pid).Scan(&ended)
			if err != nil {
				t.Error(err)
			}
			if err != nil || ended {
				return
			}
		}
		t.Error("it did not come to the COMMIT")
	})
	err := a.docs.InTx(t.Context(), nil, func(tx *db.Tx) error {
		var pid int
		if err := tx.QueryRow(`SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		pids <- pid
		_, err := tx.Exec(`INSERT INTO rows VALUES ('x')`)
		return errors.Join(err, tx.Emit(realtime.DocumentCreated("rows", "x")))
	})
	if !errors.Is(err, db.ErrMaybeCommitted) {
		t.Errorf("the error is %v", err)
	}
	if !a.announced()["x"] {
		t.Error("nobody was told to look")
	}
}
