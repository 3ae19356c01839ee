//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// What is missing is named, with what mends it.
func TestSourceSaysWhatIsMissing(t *testing.T) {
	wrong := func(w *followed, o postgres.SourceOptions, words ...string) {
		t.Helper()
		_, err := w.trySource(o)
		if err == nil {
			t.Errorf("no error that says %q", words)
			return
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), strings.ReplaceAll(word, "$pub", w.schema)) {
				t.Errorf("the error does not say %q: %v", word, err)
			}
		}
	}
	plain := newFollowed(t, pgserver.Start(t, "fsync=off"), published("orders", orders)...)
	wrong(plain, postgres.SourceOptions{}, "alter system set wal_level = logical;")

	w := newFollowed(t, pgserver.Shared(t), orders, `create table marks (id bigint primary key)`)
	wrong(w, postgres.SourceOptions{}, `create publication "$pub" for table orders`)
	w.do(`create publication $pub for all tables`)
	wrong(w, postgres.SourceOptions{}, `the log itself`, `drop publication "$pub"`)
	w.do(`drop publication $pub`, `create publication $pub for table orders, marks`)
	wrong(w, postgres.SourceOptions{Slot: "No-Slot"}, "SourceOptions.Slot")
	w.do(`select pg_create_logical_replication_slot('$pub', 'test_decoding')`)
	wrong(w, postgres.SourceOptions{}, "test_decoding", "pg_drop_replication_slot('$pub')")
	w.dropSlot()

	// Names in the options that lead nowhere.
	w.do(`create table other (id int primary key)`, `create schema app`, `create table app.lines (id int primary key)`)
	named := func(name string, table postgres.Table, words ...string) {
		t.Helper()
		wrong(w, postgres.SourceOptions{Tables: map[string]postgres.Table{"orders": {}, name: table}}, words...)
	}
	named("order", postgres.Table{}, `"order"`, `no such table`)
	named("lines", postgres.Table{}, `"lines"`, `app.orders`)
	named("other", postgres.Table{}, `alter publication "$pub" add table public.other;`)
	named("app.lines", postgres.Table{}, `alter publication "$pub" add table app.lines;`)
	named("orders", postgres.Table{Data: []string{"note", "costumer"}}, `"costumer"`, `"customer"`)
	named("orders", postgres.Table{Data: []string{""}}, "without a name")
	named("orders", postgres.Table{Key: []string{"id", "nr"}}, `"nr"`, `"id"`)
	named("orders", postgres.Table{Data: []string{"ctid"}}, `"ctid"`)

	// A role with all but the right to replicate.
	role := w.schema + "_node"
	grants, err := postgres.NodeGrants(w.schema, role)
	if err != nil {
		t.Fatal(err)
	}
	w.do(`create role ` + role + ` login; ` + grants)
	as := pgserver.Shared(t).URLAs(role, w.schema[:len(w.schema)])
	as = strings.Replace(as, "/"+w.schema+"?", "/"+w.pool.Config().ConnConfig.Database+"?", 1)
	wrong(w, postgres.SourceOptions{URL: as}, `alter role "`+role+`" replication;`)
	w.do(postgres.SourceGrants(role))
	w.source(postgres.SourceOptions{URL: as})
	w.do(`insert into orders values (1)`)
	w.want("created orders 1")
	mustNot(t, database(t, as), `select * from orders`, `insert into orders values (2)`, `create table x (n int)`)
}

// toldOfReset is what is told where a slot was lost between the rows 1 and 100.
var toldOfReset = []string{"created orders 1", "reset db", "created orders 100"}

// A slot that is lost is made again, and everybody who sees the tables is told once.
func TestLostSlot(t *testing.T) {
	t.Run("dropped", slotDropped)
	for name, make := range map[string]string{
		"made again by hand": `select pg_drop_replication_slot('$pub'); select pg_create_logical_replication_slot('$pub', 'pgoutput')`,
		"moved by hand":      `select pg_replication_slot_advance('$pub', pg_current_wal_lsn())`,
	} {
		t.Run(name, func(t *testing.T) { slotChanged(t, make) })
	}
	t.Run("too much to keep", slotTooMuchToKeep)
	t.Run("without a publication", slotWithoutAPublication)
	t.Run("another server", slotOfAnotherServer)
}

func slotDropped(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	closeSource(t, w.source(postgres.SourceOptions{}))
	s := w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (1)`)
	w.streaming()
	w.want("created orders 1")
	closeSource(t, s)
	w.dropSlot()
	w.do(`insert into orders values (2)`) // which nobody can tell
	w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (100)`)
	w.want(toldOfReset[1:]...)
}

func slotTooMuchToKeep(t *testing.T) {
	w := newFollowed(t, pgserver.Start(t, "fsync=off", "wal_level=logical", "max_slot_wal_keep_size=1MB", "max_wal_size=32MB", "min_wal_size=32MB"), published("orders", orders)...)
	s := w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (1)`)
	w.want("created orders 1")
	closeSource(t, s)
	eventually(t, "the slot is lost", func() bool {
		w.do(`insert into orders select coalesce(max(id), 0) + 1 from orders`, `select pg_switch_wal()`, `checkpoint`)
		var status string
		if err := w.pool.QueryRow(t.Context(), `select wal_status from pg_replication_slots where slot_name = $1`, w.schema).Scan(&status); err != nil {
			t.Fatal(err)
		}
		return status == "lost"
	})
	w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (100)`)
	w.want(toldOfReset[1:]...)
}

func slotWithoutAPublication(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	s := w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (1)`)
	w.streaming()
	w.do(`drop publication $pub`, `insert into orders values (2)`)
	eventually(t, "the source says what is missing", func() bool { return s.Err() != nil && strings.Contains(s.Err().Error(), "create publication") })
	w.do(`create publication $pub for table orders, marks`)
	eventually(t, "the source goes on", func() bool { return s.Err() == nil })
	for _, want := range toldOfReset[:2] { // the reset comes with the slot that follows on it
		if got := tell(event(t, w.log.Next(t))); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	w.do(`insert into orders values (100)`)
	w.want(toldOfReset[2:]...)
}

func slotOfAnotherServer(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	s := w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (1)`)
	w.streaming()
	w.want("created orders 1")
	closeSource(t, s)
	w.do(`update ` + w.schema + `.store set value = convert_to(replace(convert_from(value, 'UTF8'), '"Timeline":1', '"Timeline":0'), 'UTF8') where kind = 'source'`)
	w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (100)`)
	w.want(toldOfReset[1:]...)
}

// slotChanged runs a statement on the slot while nobody follows.
func slotChanged(t *testing.T, make string) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	s := w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (1)`)
	w.want("created orders 1")
	closeSource(t, s)
	w.do(`insert into orders values (2)`) // which nobody can tell
	eventually(t, "the slot is another one", func() bool {
		_, err := w.pool.Exec(t.Context(), strings.ReplaceAll(make, "$pub", w.schema))
		return err == nil
	})
	s = w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (100)`)
	w.want(toldOfReset[1:]...)
	closeSource(t, s) // and that one is known
	w.source(postgres.SourceOptions{})
	w.do(`insert into orders values (101)`)
	w.want("created orders 101")
}

// While one node makes the first slot, the call of another one does not return: what
// commits then is told, also if the first node dies before it has made it.
func TestFirstSlotIsWaitedFor(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `insert into orders values (1)`); err != nil { // the server waits for it
		t.Fatal(err)
	}
	first, die := context.WithCancel(t.Context())
	var began sync.WaitGroup
	defer began.Wait()
	defer die()
	node := open(t, w.url, w.schema, large)
	began.Go(func() {
		if _, err := postgres.NewSource(first, node, postgres.SourceOptions{}); err == nil {
			t.Error("the first source began to follow")
		}
	})
	count := func(sql string) (n int) {
		if err := w.pool.QueryRow(t.Context(), sql, w.schema).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	eventually(t, "the first one makes the slot", func() bool {
		return count(`select count(*) from pg_replication_slots where slot_name = $1`) == 1
	})
	begun := make(chan int, 1)
	began.Go(func() {
		if _, err := w.trySource(postgres.SourceOptions{}); err != nil {
			t.Error(err)
		}
		begun <- count(`select count(*) from ` + w.schema + `.store where kind = 'source' and $1 <> ''`)
	})
	eventually(t, "the second one waits", func() bool {
		return len(begun) > 0 || count(`select count(*) from pg_stat_activity where datname = current_database() and query = 'IDENTIFY_SYSTEM' and $1 <> ''`) == 2
	})
	die()
	eventually(t, "the first slot is gone", func() bool {
		return len(begun) > 0 || count(`select count(*) from pg_replication_slots where slot_name = $1`) == 0 ||
			count(`select count(*) from pg_stat_activity where datname = current_database() and query like '%pg_create_logical%' and $1 <> ''`) > 0
	})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := <-begun; n != 1 {
		t.Error("the call returned when there was no slot yet")
	}
	w.do(`insert into orders values (2)`)
	w.want("created orders 2")
}

// Another program that uses the slot is named: by NewSource where there is nothing that it
// could continue, else by Err and one line of the log.
func TestStrangerUsesTheSlot(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	w.do(`select pg_create_logical_replication_slot('$pub', 'pgoutput')`)
	leave := w.stranger()
	named := func(err error) bool {
		return err != nil && strings.Contains(err.Error(), `application "nightly copy"`) && strings.Contains(err.Error(), "SourceOptions.Slot")
	}
	if _, err := w.trySource(postgres.SourceOptions{}); !named(err) {
		t.Errorf("NewSource returns %v", err)
	}
	leave()
	closeSource(t, w.source(postgres.SourceOptions{}))
	leave = w.stranger()
	var log lines
	s := w.source(postgres.SourceOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	eventually(t, "the source names it", func() bool { return named(s.Err()) })
	w.do(`insert into orders values (1)`)
	leave()
	w.want("created orders 1")
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "nightly copy"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// A source of an earlier release does not say which process of the server it uses: it is no
// other program to one that waits for its slot.
func TestSourceOfAnEarlierRelease(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	s := w.source(postgres.SourceOptions{})
	w.streaming()
	closeSource(t, s)
	var pid int
	if err := w.pool.QueryRow(t.Context(), `select pid from pg_stat_activity where backend_type = 'checkpointer'`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if err := s.Occupied(t.Context(), pid); err == nil || !strings.Contains(err.Error(), "in use by another program") {
		t.Errorf("of a process that is not named: %v", err)
	}
	w.do(`update $pub.store set value = convert_to((convert_from(value, 'UTF8')::jsonb - 'PID')::text, 'UTF8') where kind = 'source'`)
	if err := s.Occupied(t.Context(), pid); err != nil {
		t.Errorf("where no process is named: %v", err)
	}
}

// lines are what a logger has written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// stranger is a program that follows the slot until it leaves.
func (w *followed) stranger() (leave func()) {
	w.t.Helper()
	conn, err := pgconn.Connect(w.t.Context(), w.url+"&replication=database&application_name=nightly%20copy")
	if err != nil {
		w.t.Fatal(err)
	}
	leave = func() { _ = conn.Conn().Close() }
	w.t.Cleanup(leave)
	eventually(w.t, "another program follows the slot", func() bool {
		conn.Frontend().SendQuery(&pgproto3.Query{String: fmt.Sprintf(`START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%[1]s')`, w.schema)})
		if err := conn.Frontend().Flush(); err != nil {
			w.t.Fatal(err)
		}
		for {
			switch m, err := conn.ReceiveMessage(w.t.Context()); m.(type) {
			case *pgproto3.CopyBothResponse:
				return true
			case *pgproto3.ReadyForQuery: // the slot was in use
				return false
			default:
				if err != nil {
					w.t.Fatal(err)
				}
			}
		}
	})
	return leave
}

// A source that has nothing to tell does not keep what others write.
func TestIdleSourceKeepsNothing(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders, `create table other (n int)`)...)
	w.source(postgres.SourceOptions{})
	w.streaming()
	w.do(`insert into other select generate_series(1, 1000)`)
	var written string
	if err := w.pool.QueryRow(t.Context(), `select pg_current_wal_lsn()::text`).Scan(&written); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slot is past it", func() bool {
		var past bool
		err := w.pool.QueryRow(t.Context(), `select confirmed_flush_lsn >= $1::text::pg_lsn from pg_replication_slots where slot_name = $2`, written, w.schema).Scan(&past)
		return err == nil && past
	})
}

// A transaction that is too large to be appended at once goes on where it was when the
// connection broke.
func TestLargeTransaction(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	w.source(postgres.SourceOptions{})
	const n = 12_000
	w.do(fmt.Sprintf(`insert into orders select generate_series(1, %d)`, n))
	var want []string
	for i := 1; i <= n; i++ {
		want = append(want, fmt.Sprint("created orders ", i))
	}
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		for range 8 {
			time.Sleep(rand.N(200 * time.Millisecond))
			_, _ = w.pool.Exec(context.Background(), `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1`, w.schema)
		}
	}()
	got := w.said()
	<-cut
	if !slices.Equal(got, want) {
		t.Errorf("%d events of %d, or in another order", len(got), n)
	}
}
