package boltkv

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
	"github.com/maravilla-realtime/realtime/kv/kvtest"
	bolt "go.etcd.io/bbolt"
)

func open(t testing.TB, path string) *Engine {
	t.Helper()
	e, err := Open(path)
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

// TestDamage: an entry that is not one is an error, and harms no other.
func TestDamage(t *testing.T) {
	for _, damaged := range []string{"", "short", "\x00\x00\x00\x00\x00\x00\x00\x00\x09version"} {
		engine := open(t, file(t))
		err := engine.db.Update(func(tx *bolt.Tx) error {
			return tx.Bucket(entriesBucket).Put(join("demo", "damaged"), []byte(damaged))
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := engine.Get(t.Context(), "demo", "damaged"); err == nil || errors.Is(err, kv.ErrNotFound) {
			t.Errorf("%q was read: %v", damaged, err)
		}
		if _, err := engine.List(t.Context(), "demo", "", "", 10); err == nil {
			t.Errorf("%q was listed", damaged)
		}
		if err := engine.Put(t.Context(), kv.Entry{Namespace: "demo", Key: "other"}); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no", "such", "folder")); err == nil {
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
