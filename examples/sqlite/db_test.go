package sqlite_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/db"
)

// Example: what is committed is announced, what is rolled back is not.
func Example() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	must(err)
	defer rt.Close(ctx)
	dir, err := os.MkdirTemp("", "todos")
	must(err)
	defer os.RemoveAll(dir)
	sqlDB, err := openFile(filepath.Join(dir, "todos.db"))
	must(err)
	defer sqlDB.Close()
	_, err = sqlDB.Exec(`CREATE TABLE todos (id TEXT PRIMARY KEY, title TEXT NOT NULL)`)
	must(err)

	todos := db.New(rt, sqlDB, nil)
	add := func(id, title string) error {
		return todos.InTx(ctx, nil, func(tx *db.Tx) error {
			if err := tx.Emit(realtime.DocumentCreated("todos", id)); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO todos (id, title) VALUES ($1, $2)`, id, title)
			return err
		})
	}
	start := rt.Cursor()
	fmt.Println(add("1", "milk"))
	fmt.Println(add("1", "the id is taken") != nil)
	fmt.Println(add("2", "bread"))

	n := 0
	for ev, err := range rt.EventsAfter(ctx, realtime.EventMatch{Resource: "db"}, start) {
		must(err)
		fmt.Println(ev.Type, ev.Namespace, ev.Key)
		if n++; n == 2 {
			break
		}
	}
	// Output:
	// <nil>
	// true
	// <nil>
	// db.document.created todos 1
	// db.document.created todos 2
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// host is a Realtime, and a database with counters in rows.
type host struct {
	*realtime.Realtime
	t    *testing.T
	sql  *sql.DB
	docs *db.DB
}

func start(t *testing.T) *host {
	t.Helper()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close(context.Background()) })
	h := &host{Realtime: rt, t: t, sql: open(t)}
	h.docs = db.New(dawdler{rt}, h.sql, nil)
	if _, err := h.sql.Exec(`CREATE TABLE counters (id TEXT PRIMARY KEY, n INTEGER NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	return h
}

// dawdler takes its time, so that others overtake it if they can.
type dawdler struct{ realtime.Publisher }

func (d dawdler) Emit(ctx context.Context, ev realtime.RenEvent, opts ...realtime.EventOption) error {
	for range rand.N(2000) {
		runtime.Gosched()
	}
	return d.Publisher.Emit(ctx, ev, opts...)
}

// count adds one to each of the counters, whose events have the sums as versions.
func (h *host) count(ctx context.Context, ids ...string) error {
	return h.docs.InTx(ctx, nil, func(tx *db.Tx) error {
		for _, id := range ids {
			var n int
			err := tx.QueryRowContext(ctx, `INSERT INTO counters VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = n + 1 RETURNING n`, id).Scan(&n)
			if err != nil {
				return err
			}
			if err := tx.Emit(realtime.DocumentUpdated("counters", id).WithVersion(fmt.Sprint(n))); err != nil {
				return err
			}
		}
		return nil
	})
}

// next returns the next n events after the cursor.
func (h *host) next(after realtime.Cursor, n int) (events []realtime.RenEvent) {
	h.t.Helper()
	for ev, err := range h.EventsAfter(h.t.Context(), realtime.EventMatch{}, after) {
		if err != nil {
			h.t.Fatal(err)
		}
		if events = append(events, ev); len(events) == n {
			break
		}
	}
	return events
}

// TestOrder: the events of a row come in the order of its commits.
func TestOrder(t *testing.T) {
	h := start(t)
	cursor := h.Cursor()
	const writers, rounds = 8, 25
	ids := []string{"a", "b", "c"}
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range rounds {
				first := rand.N(len(ids))
				if err := h.count(t.Context(), ids[first], ids[(first+1)%len(ids)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return // what failed was not announced
	}
	counts := map[string]int{}
	for _, ev := range h.next(cursor, 2*writers*rounds) {
		counts[ev.Key]++
		if want := fmt.Sprint(counts[ev.Key]); ev.Version != want {
			t.Fatalf("commit %s of %s was announced as number %s", ev.Version, ev.Key, want)
		}
	}
}

func TestRollback(t *testing.T) {
	h := start(t)
	cursor := h.Cursor()
	changed := errors.New("changed my mind")
	err := h.docs.InTx(t.Context(), nil, func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO counters VALUES ('a', 7)`)
		return errors.Join(err, tx.Emit(realtime.DocumentCreated("counters", "a")), changed)
	})
	if !errors.Is(err, changed) {
		t.Error(err)
	}
	err = h.docs.InTx(t.Context(), nil, func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO counters VALUES ('a', 7)`)
		return errors.Join(err, tx.Emit(realtime.DocumentCreated("counters", "a\x00")))
	})
	if !errors.Is(err, realtime.ErrBadEvent) {
		t.Error(err)
	}
	if err := h.count(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if ev := h.next(cursor, 1)[0]; ev.Type != "db.document.updated" || ev.Version != "1" {
		t.Errorf("the first event is %+v", ev)
	}
}

// TestAttributed: the event of a request's transaction is that tab's own.
func TestAttributed(t *testing.T) {
	h := start(t)
	cursor := h.Cursor()
	app := h.Attribute(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.count(r.Context(), "a"); err != nil {
			t.Error(err)
		}
	}))
	const tab = "browser-0001.tab1"
	r := httptest.NewRequest(http.MethodPost, "/count", strings.NewReader(""))
	r.Header.Set("X-Ren-Client", tab)
	app.ServeHTTP(httptest.NewRecorder(), r)
	if err := h.count(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	sum := sha256.Sum256([]byte("maravilla.realtime.src:" + tab))
	events := h.next(cursor, 2)
	if want := base64.RawURLEncoding.EncodeToString(sum[:])[:16]; events[0].Source != want || events[1].Source != "" {
		t.Errorf("the sources are %q and %q, want %q and none", events[0].Source, events[1].Source, want)
	}
}
