//go:build unix

package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

// One source at a time follows the slot; another one goes on where it was.
func TestSourceTakesOver(t *testing.T) {
	w := newFollowed(t, pgserver.Shared(t), published("orders", orders)...)
	first := w.source(postgres.SourceOptions{})
	w.streaming()
	second := w.source(postgres.SourceOptions{})
	for n := range 3 {
		w.do(fmt.Sprintf(`insert into orders values (%d)`, n))
		w.want(fmt.Sprintf("created orders %d", n))
		closeSource(t, first)
		w.do(fmt.Sprintf(`insert into orders values (1%d)`, n))
		w.want(fmt.Sprintf("created orders 1%d", n))
		first, second = second, w.source(postgres.SourceOptions{})
		if err := first.Err(); err != nil {
			t.Error(err)
		}
	}
	closeSource(t, second)
}

// Sources that are killed, a server that is killed, and ids that are forgotten: each row
// is told once, in the order of the commits.
func TestSourceUnderKills(t *testing.T) {
	s := pgserver.Start(t, "fsync=off", "max_connections=200", "wal_level=logical", "checkpoint_timeout=30")
	w := newFollowed(t, s, published("rows", `create table rows (id int primary key)`)...)
	closeSource(t, w.source(postgres.SourceOptions{})) // which has made the slot
	streamers := []*exec.Cmd{w.streamer(), w.streamer()}
	rounds, id := 6, 0
	if *full {
		rounds = 100
	}
	for round := range rounds {
		w.streaming()
		for range 40 {
			var rows []string
			for range 1 + rand.IntN(5) {
				id++
				rows = append(rows, fmt.Sprintf("(%d)", id))
			}
			eventually(t, "the server takes writes", func() bool { // perhaps it took them before it died
				_, err := w.pool.Exec(t.Context(), `insert into rows values `+strings.Join(rows, ",")+` on conflict do nothing`)
				return err == nil
			})
		}
		switch round % 3 {
		case 0, 1:
			i := rand.IntN(2)
			_ = streamers[i].Process.Kill()
			_ = streamers[i].Wait() // it was killed
			streamers[i] = w.streamer()
		case 2:
			eventually(t, "the ids are forgotten", func() bool { // as after two minutes
				_, err := w.pool.Exec(t.Context(), `truncate `+w.schema+`.ids`)
				return err == nil
			})
			w.crash()
		}
	}
	var want []string
	rows, err := w.pool.Query(t.Context(), `select id from rows order by id`)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		want = append(want, fmt.Sprint("created rows ", id))
	}
	if got := w.said(); !slices.Equal(got, want) {
		t.Errorf("%d events of %d rows, or in another order", len(got), len(want))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("event %d is %q, want %q", i, got[i], want[i])
			}
		}
	}
	t.Logf("%d rows over %d kills", len(want), rounds)
}

// crash kills a process of the server, and returns when the server has ended all
// others and takes connections again.
func (w *followed) crash() {
	w.t.Helper()
	other, err := pgx.Connect(w.t.Context(), w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	killBackend(w.t, w.pool)
	eventually(w.t, "the server has ended all connections", func() bool { return other.Ping(w.t.Context()) != nil })
	w.pool.Reset()
	recovered(w.t, w.pool)
}

// streamer starts a process with a source.
func (w *followed) streamer() *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestStreamer$")
	cmd.Env = append(os.Environ(), appURL+"="+w.url, appSchema+"="+w.schema)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// TestStreamer is the process that streamer starts.
func TestStreamer(t *testing.T) {
	url, schema := os.Getenv(appURL), os.Getenv(appSchema)
	if url == "" {
		t.Skip("it is a part of TestSourceUnderKills")
	}
	var b *postgres.Backend
	for { // the server may be on its way down or up
		var err error
		if b == nil {
			b, err = postgres.NewBackend(t.Context(), postgres.Options{URL: url, Schema: schema})
		}
		if err == nil {
			_, err = postgres.NewSource(t.Context(), b, postgres.SourceOptions{})
		}
		if err == nil {
			select {} // until it is killed
		}
		time.Sleep(20 * time.Millisecond)
	}
}
