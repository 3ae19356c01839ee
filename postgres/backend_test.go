//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/pgserver"
	"github.com/maravilla-realtime/realtime/postgres"
)

func TestConformance(t *testing.T) {
	url := server(t)
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, url, migrated(t, url), nil) })
}

// Two nodes have one log.
func TestNodesShareOneLog(t *testing.T) {
	url := server(t)
	schema := migrated(t, url)
	a, b := open(t, url, schema, nil), open(t, url, schema, nil)
	f := enginetest.Follow(t, b, head(t, b))
	for i := range 20 {
		from := a
		if i%2 == 1 {
			from = b
		}
		pos := enginetest.Append(t, from, fmt.Sprint(i))
		if got := f.Next(t); got.Pos != pos || string(got.Data) != fmt.Sprint(i) {
			t.Fatalf("at %v node b read %q at %v", pos, got.Data, got.Pos)
		}
	}
	// Other schemas are other deployments.
	other := open(t, url, migrated(t, url), nil)
	if at := head(t, other); at.Seq != 0 {
		t.Errorf("the log of another schema is at %v", at)
	}
}

// A notification that is lost delays a record and does not lose it.
func TestLostNotification(t *testing.T) {
	url := server(t)
	schema := migrated(t, url)
	b := open(t, url, schema, nil)
	f := enginetest.Follow(t, b, head(t, b))
	enginetest.Append(t, b, "told")
	f.Next(t)
	pool := database(t, url)
	var source string
	if err := pool.QueryRow(t.Context(), `select pg_get_functiondef('`+schema+`.write'::regproc)`).Scan(&source); err != nil {
		t.Fatal(err)
	}
	silent := strings.ReplaceAll(source, "perform pg_notify", "-- perform pg_notify")
	if silent == source {
		t.Fatal("write does not notify")
	}
	run(t, pool, silent)
	enginetest.Append(t, b, "not told")
	if got := string(f.Next(t).Data); got != "not told" {
		t.Errorf("the record is %q", got)
	}
}

// Connections that are cut, and a server that is killed, cost no record that Append
// has reported, and no epoch.
func TestCutsAndCrashes(t *testing.T) {
	s := pgserver.Start(t) // which syncs, as a server does by default
	url := s.URL("postgres")
	schema := migrated(t, url)
	a, b := open(t, url, schema, nil), open(t, url, schema, nil)
	f := enginetest.Follow(t, b, head(t, b))
	pool := database(t, url)
	epoch := head(t, a).Epoch
	for i := range 24 {
		switch i {
		case 5, 10, 15:
			run(t, pool, `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = 'postgres'`)
		case 20:
			s.Kill()
			s.Restart()
		}
		pos := enginetest.Append(t, a, fmt.Sprint(i))
		if pos.Epoch != epoch {
			t.Fatalf("the epoch is %d, and was %d", pos.Epoch, epoch)
		}
		if got := f.Next(t); string(got.Data) != fmt.Sprint(i) || got.Pos != pos {
			t.Fatalf("record %d is %q at %v, and was appended at %v", i, got.Data, got.Pos, pos)
		}
	}
}

// While there is no server, calls end in time and say what has happened.
func TestNoServer(t *testing.T) {
	s := pgserver.Start(t, "fsync=off")
	b := open(t, s.URL("postgres"), migrated(t, s.URL("postgres")), nil)
	enginetest.Append(t, b, "before")
	s.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Append(ctx, backend.Entry{Data: []byte("x")}); err == nil {
		t.Error("Append returned nil without a server")
	}
	if _, err := b.Get(ctx, backend.Key{Kind: "k", Group: "g", Name: "n"}); err == nil {
		t.Error("Get returned nil without a server")
	}
	s.Restart()
	enginetest.Append(t, b, "after")
}

// A standby that is promoted has perhaps not all that the primary had reported. The
// log goes on in a greater epoch, even where no node is left that had read more: their
// clients had.
func TestFailoverLosesTheTail(t *testing.T) {
	primary := pgserver.Start(t, "fsync=off")
	schema := migrated(t, primary.URL("postgres"))
	standby := primary.Standby()
	either := standby.URL("postgres") + "," + primary.Directory() // whichever takes writes
	b := open(t, either, schema, nil)
	enginetest.Append(t, b, "kept")
	pool := database(t, standby.URL("postgres"))
	eventually(t, "the standby has the record", func() bool {
		var n int
		err := pool.QueryRow(t.Context(), `select count(*) from `+schema+`.log`).Scan(&n)
		return err == nil && n == 1
	})
	run(t, pool, `alter system set primary_conninfo = ''`) // it follows no more
	run(t, pool, `select pg_reload_conf()`)
	eventually(t, "the standby has stopped following", func() bool {
		var follows bool
		err := pool.QueryRow(t.Context(), `select exists (select from pg_stat_wal_receiver)`).Scan(&follows)
		return err == nil && !follows
	})
	last := enginetest.Append(t, b, "only the primary has it")
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	standby.Promote()
	c := open(t, either, schema, nil)
	lost := enginetest.Follow(t, c, last).Lost(t)
	again := enginetest.Append(t, c, "again")
	if again.Epoch <= last.Epoch || lost.Next.Epoch != again.Epoch {
		t.Errorf("after %v the log goes on at %v, and Next was %v", last, again, lost.Next)
	}
	if got := string(enginetest.Follow(t, c, lost.Next).Next(t).Data); got != "again" {
		t.Errorf("following from Next gives %q", got)
	}
	if page, err := c.Read(t.Context(), backend.Position{}, 10); err != nil || page.First != again || len(page.Records) != 1 {
		t.Errorf("the log begins at %v with %d records, %v", page.First, len(page.Records), err)
	}
}

// A log that was put back on the same timeline is noticed by a node that has read more,
// whether the log is shorter or has other records by then.
func TestServerIsPutBack(t *testing.T) {
	url := server(t)
	pool := database(t, url)
	for name, grown := range map[string]bool{"shorter": false, "with other records": true} {
		t.Run(name, func(t *testing.T) {
			schema := migrated(t, url)
			b := open(t, url, schema, nil)
			enginetest.Append(t, b, "kept")
			f := enginetest.Follow(t, b, backend.Position{})
			last := enginetest.Append(t, b, "lost")
			f.Next(t)
			f.Next(t)
			k := backend.Key{Kind: "test", Group: "g", Name: "n"}
			rev, err := b.Put(t.Context(), backend.Write{Key: k, Value: []byte("v")})
			if err != nil {
				t.Fatal(err)
			}
			if grown {
				run(t, pool, `update `+schema+`.log set data = 'another' where seq = $1`, int64(last.Seq))
			} else {
				run(t, pool, `delete from `+schema+`.log where seq = $1`, int64(last.Seq))
			}
			run(t, pool, `delete from `+schema+`.store; `)
			run(t, pool, `alter sequence `+schema+`.revisions restart`)
			run(t, pool, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'maravilla realtime'`)
			lost := f.Lost(t)
			again := enginetest.Append(t, b, "again")
			if again.Epoch <= last.Epoch || lost.Next.Epoch != again.Epoch {
				t.Errorf("after %v the log goes on at %v, and Next was %v", last, again, lost.Next)
			}
			second, err := b.Put(t.Context(), backend.Write{Key: k, Value: []byte("v")})
			if err != nil || second <= rev {
				t.Errorf("the record got revision %d after %d, %v", second, rev, err)
			}
		})
	}
}

// An Append that would be given a position which this node has read is not: even where
// Follow has not noticed yet.
func TestAppendDoesNotUseAPositionTwice(t *testing.T) {
	url := server(t)
	schema := migrated(t, url)
	pool := database(t, url)
	b := open(t, url, schema, nil)
	f := enginetest.Follow(t, b, backend.Position{})
	last := enginetest.Append(t, b, "lost")
	f.Next(t)
	run(t, pool, `delete from `+schema+`.log`)
	pos, err := b.Append(t.Context(), backend.Entry{Data: []byte("again")})
	if err != nil || pos.Epoch <= last.Epoch {
		t.Errorf("after %v the log goes on at %v, %v", last, pos, err)
	}
	f.Lost(t)
}

// The log keeps what it has to, and little more, and no dead rows take room.
func TestRetention(t *testing.T) {
	url := server(t)
	schema := migrated(t, url)
	pool := database(t, url)
	b := open(t, url, schema, func(o *postgres.Options) { o.Events = 100 })
	var last backend.Position
	for range 1000 {
		var err error
		if last, err = b.Append(t.Context(), backend.Entry{Data: make([]byte, 1024)}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := b.Read(t.Context(), backend.Position{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if kept := page.Head.Seq - page.First.Seq + 1; page.Head != last || kept < 100 || kept > 130 {
		t.Errorf("the log keeps %d records from %v to %v, for 100 of 1,000", kept, page.First, page.Head)
	}
	var size int
	if err := pool.QueryRow(t.Context(), `select sum(pg_relation_size(c.oid)) from pg_class c
		where relnamespace = $1::regnamespace and relname ~ '^log_[0-9]$'`, schema).Scan(&size); err != nil || size > 200<<10 {
		t.Errorf("130 records of 1 KiB take %d bytes, %v", size, err)
	}
}

// A program that reads a table of the log for long, such as pg_dump, delays its
// truncation and not the appends.
func TestLongReader(t *testing.T) {
	url := server(t)
	schema := migrated(t, url)
	b := open(t, url, schema, func(o *postgres.Options) { o.Events = 100 })
	fill(t, b, 10)
	tx, err := database(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select * from `+schema+`.log`); err != nil {
		t.Fatal(err)
	}
	last := fill(t, b, 1000)
	f := enginetest.Follow(t, b, backend.Position{Epoch: last.Epoch, Seq: last.Seq - 500})
	f.Next(t)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is trimmed", func() bool {
		fill(t, b, 100)
		page, err := b.Read(t.Context(), backend.Position{}, 0)
		return err == nil && page.Head.Seq-page.First.Seq < 300
	})
}

// Old records go, also where none come.
func TestAge(t *testing.T) {
	url := server(t)
	b := open(t, url, migrated(t, url), func(o *postgres.Options) { o.Age = 40 * time.Millisecond })
	fill(t, b, 10)
	eventually(t, "the log is empty", func() bool {
		page, err := b.Read(t.Context(), backend.Position{}, 10)
		return err == nil && page.First.Seq == 11 && page.Head.Seq == 10 && len(page.Records) == 0
	})
	if pos := enginetest.Append(t, b, "next"); pos.Seq != 11 {
		t.Errorf("the next record is at %v", pos)
	}
}

// An id is remembered for two minutes, whatever becomes of its record.
func TestIDsOutliveTheLog(t *testing.T) {
	url := server(t)
	schema := migrated(t, url)
	pool := database(t, url)
	b := open(t, url, schema, func(o *postgres.Options) { o.Events = 10 })
	first := enginetest.Append(t, b, "once")
	for i := range 4 {
		fill(t, b, 50)
		if again := enginetest.Append(t, b, "once"); again != first && i < 2 {
			t.Errorf("turn %d: the id got %v and then %v", i, first, again)
		} else if again == first && i == 3 {
			t.Error("the id is remembered for ever")
		}
		// Almost a minute passes.
		run(t, pool, `update `+schema+`.slots set began = began - interval '61 seconds' where ring = 'ids'`)
		run(t, pool, `update `+schema+`.ids set at = at - interval '59 seconds'`)
	}
	twice := enginetest.Append(t, b, "twice")
	run(t, pool, `update `+schema+`.ids set at = at - interval '121 seconds'`)
	if again := enginetest.Append(t, b, "twice"); again == twice {
		t.Error("an id is remembered for longer than two minutes")
	}
}
