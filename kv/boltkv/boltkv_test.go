package boltkv

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/said"
	"github.com/maravilla-realtime/realtime/kv"
	"github.com/maravilla-realtime/realtime/kv/kvtest"
	bolt "go.etcd.io/bbolt"
)

func open(t testing.TB, path string) *Engine {
	t.Helper()
	e, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "test.kv") }

func TestConformance(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Engine { return open(t, file(t)) })
}

// log is a Publisher that keeps what was emitted.
type log struct {
	realtime.Publisher

	mu      sync.Mutex
	story   []string
	emitted chan string // types, if somebody waits for them
}

func (l *log) Emit(_ context.Context, ev realtime.RenEvent, _ ...realtime.EventOption) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.story = append(l.story, ev.Type+" "+ev.Key)
	if l.emitted != nil {
		l.emitted <- ev.Type
	}
	return nil
}

func store(e *Engine, l *log) *kv.Store {
	return kv.New(l, &kv.Options{Engine: e, Logger: slog.New(slog.DiscardHandler)})
}

// TestReopen: what a Store wrote is there after a restart, down to its expiry,
// which is announced once.
func TestReopen(t *testing.T) {
	ctx, path := t.Context(), file(t)
	engine := open(t, path)
	s := store(engine, &log{})
	if _, err := s.Put(ctx, "demo", "stays", []byte("value"), kv.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want, err := s.Get(ctx, "demo", "stays")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	expired := kv.Entry{Namespace: "demo", Key: "expired", Version: "1", Expires: time.UnixMilli(1)}
	if err := errors.Join(engine.Put(ctx, expired), engine.Close()); err != nil {
		t.Fatal(err)
	}

	engine = open(t, path)
	l := &log{emitted: make(chan string, 1)}
	s = store(engine, l)
	if typ := <-l.emitted; typ != "kv.expired" {
		t.Errorf("announced %s", typ)
	}
	got, err := s.Get(ctx, "demo", "stays")
	if err != nil || !bytes.Equal(got.Value, want.Value) || got.Version != want.Version || !got.Expires.Equal(want.Expires) {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	version, err := s.Put(ctx, "demo", "stays", nil)
	if err != nil || version <= want.Version {
		t.Errorf("version %q (%v) after %q", version, err, want.Version)
	}
	s.Close()
	if got := strings.Join(l.story, ", "); got != "kv.expired expired, kv.put stays" {
		t.Errorf("the events are %q", got)
	}
	if _, err := engine.Get(ctx, "demo", "expired"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("what has expired is still there: %v", err)
	}
}

// The janitor looks often, and never at values.
func TestExpiringLeavesValuesOut(t *testing.T) {
	e := open(t, file(t))
	at := time.UnixMilli(1)
	if err := e.Put(t.Context(), kv.Entry{Namespace: "demo", Key: "a", Value: []byte("large"), Version: "1", Expires: at}); err != nil {
		t.Fatal(err)
	}
	list, err := e.Expiring(t.Context(), 1)
	if err != nil || len(list) != 1 || list[0].Key != "a" || !list[0].Expires.Equal(at) || list[0].Version != "1" || len(list[0].Value) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestClosedEngine(t *testing.T) {
	engine := open(t, file(t))
	s := store(engine, &log{})
	defer s.Close()
	if err := errors.Join(engine.Close(), engine.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "demo", "a", nil); err == nil {
		t.Error("a closed engine has stored")
	}
}

// damage are records that are no entries.
var damage = []string{"", "short", "\x00\x00\x00\x00\x00\x00\x00\x00\x09version"}

// write writes records as no Engine does; a nil value deletes.
func write(t *testing.T, e *Engine, bucket, name, value []byte) {
	t.Helper()
	err := e.db.Update(func(tx *bolt.Tx) error {
		if value == nil {
			return tx.Bucket(bucket).Delete(name)
		}
		return tx.Bucket(bucket).Put(name, value)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// logging opens an Engine whose log is to be read.
func logging(t *testing.T) (*Engine, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	e, err := Open(file(t), &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, &log
}

func keys(list []kv.Entry) string {
	var keys []string
	for _, e := range list {
		keys = append(keys, e.Key)
	}
	return strings.Join(keys, " ")
}

// TestDamage: a record that is no entry is an error to who asks for it, is told of
// once, harms no other, and can be replaced and removed.
func TestDamage(t *testing.T) {
	ctx := t.Context()
	for _, damaged := range damage {
		e, log := logging(t)
		soon := time.UnixMilli(1)
		for _, entry := range []kv.Entry{
			{Namespace: "demo", Key: "a", Expires: soon.Add(time.Millisecond)}, {Namespace: "demo", Key: "b", Expires: soon},
			{Namespace: "demo", Key: "c", Expires: soon.Add(time.Hour)},
		} {
			if err := e.Put(ctx, entry); err != nil {
				t.Fatal(err)
			}
		}
		write(t, e, entriesBucket, join("demo", "b"), []byte(damaged))
		if _, err := e.Get(ctx, "demo", "b"); err == nil || errors.Is(err, kv.ErrNotFound) {
			t.Errorf("%q was read: %v", damaged, err)
		}
		for range 3 {
			if list, err := e.List(ctx, "demo", "", "", 2); err != nil || keys(list) != "a c" {
				t.Errorf("%q: listed %q, %v", damaged, keys(list), err)
			}
			if list, err := e.Expiring(ctx, 2); err != nil || keys(list) != "a c" {
				t.Errorf("%q: %q expire, %v", damaged, keys(list), err)
			}
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `demo\\x00b`) {
			t.Errorf("%q: the log is %q", damaged, got)
		}

		later := kv.Entry{Namespace: "demo", Key: "b", Expires: soon.Add(2 * time.Hour)}
		if err := e.Put(ctx, later); err != nil {
			t.Errorf("%q: put over it: %v", damaged, err)
		}
		if list, err := e.Expiring(ctx, 10); err != nil || keys(list) != "a c b" {
			t.Errorf("%q: %q expire after a put, %v", damaged, keys(list), err)
		}
		write(t, e, entriesBucket, join("demo", "b"), []byte(damaged))
		if err := e.Delete(ctx, "demo", "b"); err != nil {
			t.Errorf("%q: delete it: %v", damaged, err)
		}
		if _, err := e.Get(ctx, "demo", "b"); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("%q: deleted, but %v", damaged, err)
		}
		err := e.db.View(func(tx *bolt.Tx) error {
			if n := tx.Bucket(timesBucket).Stats().KeyN; n != 2 {
				t.Errorf("%q: %d times are left", damaged, n)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestDamagedTimes: a time that is not that of its entry is left out.
func TestDamagedTimes(t *testing.T) {
	e, log := logging(t)
	for _, entry := range []kv.Entry{{Namespace: "demo", Key: "stays"}, {Namespace: "demo", Key: "expires", Expires: time.UnixMilli(9)}} {
		if err := e.Put(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range [][]byte{
		{0}, timed(2, []byte("no namespace")), timed(3, join("demo", "stays")), timed(4, join("demo", "gone")),
		timed(5, join("demo", "expires")),
	} {
		write(t, e, timesBucket, name, []byte{})
	}
	if list, err := e.Expiring(t.Context(), 1); err != nil || keys(list) != "expires" {
		t.Errorf("%q expire, %v", keys(list), err)
	}
	if n := strings.Count(log.String(), "\n"); n != 5 {
		t.Errorf("%d lines of log: %s", n, log)
	}
}

// TestDamageReportsAreBounded: a file that is damaged all over fills no memory.
func TestDamageReportsAreBounded(t *testing.T) {
	e, log := logging(t)
	for i := range 2 * said.Most {
		write(t, e, entriesBucket, join("demo", strconv.Itoa(i)), []byte("x"))
	}
	for range 2 {
		if list, err := e.List(t.Context(), "demo", "", "", 1); err != nil || len(list) != 0 {
			t.Errorf("listed %q, %v", keys(list), err)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != said.Most {
		t.Errorf("%d lines of log, want %d", n, said.Most)
	}
}

// TestOthersExpire: a damaged record stops the expiry of no other.
func TestOthersExpire(t *testing.T) {
	e, _ := logging(t)
	at := time.UnixMilli(1)
	err := errors.Join(e.Put(t.Context(), kv.Entry{Namespace: "demo", Key: "damaged", Version: "1", Expires: at}),
		e.Put(t.Context(), kv.Entry{Namespace: "demo", Key: "expires", Version: "1", Expires: at.Add(time.Second)}))
	if err != nil {
		t.Fatal(err)
	}
	write(t, e, entriesBucket, join("demo", "damaged"), []byte("x"))
	l := &log{emitted: make(chan string, 1)}
	s := store(e, l)
	defer s.Close()
	<-l.emitted
	s.Close()
	if got := strings.Join(l.story, ", "); got != "kv.expired expires" {
		t.Errorf("the events are %q", got)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no", "such", "folder"), nil); err == nil {
		t.Error("a file in no folder was opened")
	}
}

func BenchmarkPut(b *testing.B) {
	s := store(open(b, file(b)), &log{})
	defer s.Close()
	value := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Put(b.Context(), "demo", "key", value); err != nil {
			b.Fatal(err)
		}
	}
}
