package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

// watched is a Store of which the test knows when it looks for what expires.
type watched struct {
	*kv.Store
	r      *recorder
	engine *moody
	log    *strings.Builder
	looks  *looks
}

// looks is an engine that notes when it is asked for what expires, or fails.
type looks struct {
	*moody
	began time.Time

	mu   sync.Mutex
	at   []time.Duration // since it began
	fail error
}

func (l *looks) Expiring(ctx context.Context, limit int) ([]kv.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = append(l.at, time.Since(l.began))
	if l.fail != nil {
		return nil, l.fail
	}
	return l.moody.Expiring(ctx, limit)
}

func (l *looks) failWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// take returns the seconds at which it was asked since the last call.
func (l *looks) take() (seconds []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.at {
		seconds = append(seconds, int(at/time.Second))
	}
	l.at = nil
	return seconds
}

// watch runs f in a bubble, with a Store that has looked and sleeps for a minute.
func watch(t *testing.T, f func(t *testing.T, w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{r: &recorder{}, engine: &moody{Engine: kv.NewMemory()}, log: new(strings.Builder)}
		w.looks = &looks{moody: w.engine, began: time.Now()}
		w.Store = kv.New(w.r, &kv.Options{Engine: w.looks, Logger: slog.New(slog.NewTextHandler(w.log, nil))})
		defer w.Close()
		synctest.Wait()
		f(t, w)
	})
}

// expectLooks fails unless it looked at those seconds since the last call.
func (w *watched) expectLooks(t *testing.T, want ...int) {
	t.Helper()
	if got := w.looks.take(); !slices.Equal(got, want) {
		t.Errorf("it looked after %v seconds, want %v", got, want)
	}
}

// stored lists the keys in the engine, whether they have expired or not.
func (w *watched) stored(t *testing.T) string {
	t.Helper()
	list, err := w.engine.Engine.List(t.Context(), "demo", "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, e := range list {
		keys = append(keys, e.Key)
	}
	return strings.Join(keys, " ")
}

// An engine that cannot say what expires is asked again after a second, then ever less
// often, up to a minute; each failure is logged; and all that is over once it answers.
func TestExpiryLooksAgain(t *testing.T) {
	watch(t, func(t *testing.T, w *watched) {
		w.looks.failWith(errMood)
		pass(4 * time.Minute)
		w.expectLooks(t, 0, 60, 61, 63, 67, 75, 91, 123, 183)
		if n := strings.Count(w.log.String(), errMood.Error()); n != 8 {
			t.Errorf("8 failures are logged %d times: %s", n, w.log)
		}
		w.looks.failWith(nil)
		pass(3 * time.Second)
		w.looks.failWith(errMood)
		pass(time.Minute)
		w.expectLooks(t, 243, 303)
		pass(2 * time.Second)
		w.expectLooks(t, 304)
	})
}

// Writes cost no look, unless their entry expires before the next one.
func TestExpiryLooksOnlyWhereNeeded(t *testing.T) {
	watch(t, func(t *testing.T, w *watched) {
		pass(time.Second)
		for range 10 {
			put(t, w.Store, "stays", "x")
			put(t, w.Store, "later", "x", kv.TTL(70*time.Second))
		}
		pass(time.Second)
		w.expectLooks(t, 0)
		put(t, w.Store, "soon", "x", kv.TTL(30*time.Second))
		pass(time.Second)
		for range 10 {
			put(t, w.Store, "stays", "x")
			put(t, w.Store, "not so soon", "x", kv.TTL(40*time.Second))
		}
		pass(29 * time.Second)
		w.expectLooks(t, 2, 32)
		pass(40 * time.Second)
		w.expectLooks(t, 43, 71)
		if got := w.stored(t); got != "stays" {
			t.Errorf("stored are %q", got)
		}
	})
}

// stubborn is an engine that does not delete some keys at the first time. At b it panics.
type stubborn struct {
	kv.Engine
	keys map[string]bool
}

func (s *stubborn) Delete(ctx context.Context, namespace, key string) error {
	if s.keys[key] {
		s.keys[key] = false
		if key == "b" {
			panic(key + " stays")
		}
		return errors.New(key + " stays")
	}
	return s.Engine.Delete(ctx, namespace, key)
}

// Where one end fails, the others are not held up, and it is tried again after a second,
// whatever else expires later. The first error is logged.
func TestExpiryGoesOn(t *testing.T) {
	for _, later := range []time.Duration{0, time.Hour} {
		watch(t, func(t *testing.T, w *watched) {
			want := "a b"
			if later > 0 {
				put(t, w.Store, "later", "x", kv.TTL(later))
				want += " later"
			}
			w.engine.Engine = &stubborn{Engine: w.engine.Engine, keys: map[string]bool{"a": true, "b": true}}
			for _, key := range []string{"a", "b", "c"} {
				put(t, w.Store, key, "x", kv.TTL(time.Second))
			}
			w.r.take()
			pass(time.Second)
			if got := w.stored(t); got != want {
				t.Errorf("after the first failures, %q are stored", got)
			}
			pass(time.Second)
			if got := w.stored(t); got != strings.TrimPrefix(strings.TrimPrefix(want, "a b"), " ") {
				t.Errorf("after a second, %q are stored", got)
			}
			if log := w.log.String(); strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "a stays") || strings.Contains(log, "b stays") {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

// An end that cannot be announced is announced a second later.
func TestExpiryAnnouncedLater(t *testing.T) {
	watch(t, func(t *testing.T, w *watched) {
		put(t, w.Store, "a", "x", kv.TTL(time.Second))
		w.r.take()
		w.r.failWith(errDown)
		pass(time.Second)
		w.r.failWith(nil)
		pass(time.Second)
		w.r.expect(t, "expired:a")
	})
}

// uncertain is a Publisher that fails a few times.
type uncertain struct {
	recorder
	failures int
}

func (u *uncertain) Emit(ctx context.Context, ev realtime.RenEvent, opts ...realtime.EventOption) error {
	if u.failures--; u.failures >= 0 {
		return errDown
	}
	return u.recorder.Emit(ctx, ev, opts...)
}

// An end is announced after the write that could not be announced, or not at all.
func TestExpiryAfterWhatIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &uncertain{failures: 2} // the put, and its repetition
		s := kv.New(u, &kv.Options{Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		if _, err := s.Put(t.Context(), "demo", "a", nil, kv.TTL(time.Second)); !errors.Is(err, kv.ErrUnannounced) {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		u.expect(t, "put:a expired:a")
	})
}

// A Store whose Realtime was closed looks no more: nobody would hear of it.
func TestExpiryEndsWithTheLog(t *testing.T) {
	watch(t, func(t *testing.T, w *watched) {
		w.r.failWith(realtime.ErrClosed)
		if _, err := w.Put(t.Context(), "demo", "a", nil, kv.TTL(time.Second)); !errors.Is(err, kv.ErrUnannounced) {
			t.Fatal(err)
		}
		pass(time.Hour)
		w.expectLooks(t, 0, 0, 1)
	})
}

// Close does not wait for the end of a key that is being written.
func TestCloseWhileAKeyIsWritten(t *testing.T) {
	watch(t, func(t *testing.T, w *watched) {
		put(t, w.Store, "a", "1", kv.TTL(time.Second))
		gate := make(chan struct{})
		w.engine.After = func(_ context.Context, method string) error {
			if method == "Get" { // before it is written
				<-gate
			}
			return nil
		}
		var all sync.WaitGroup
		all.Go(func() { put(t, w.Store, "a", "2") })
		pass(time.Second) // a has expired, and is locked
		all.Go(w.Close)
		synctest.Wait()
		close(gate)
		all.Wait()
		w.r.expect(t, "put:a expired:a put:a")
		if w.log.Len() > 0 {
			t.Errorf("logged: %s", w.log)
		}
	})
}

// What the engine has stored although it said that it had failed ends in time.
func TestExpiryOfAnUnsurePut(t *testing.T) {
	watch(t, func(t *testing.T, w *watched) {
		w.engine.After = fails("Put")
		if _, err := w.Put(t.Context(), "demo", "a", nil, kv.TTL(5*time.Second)); !errors.Is(err, errMood) {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		w.r.expect(t, "put:a expired:a")
	})
}

// A write does nothing where the engine cannot say what there is.
func TestWriteThatCannotRead(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
		m.Before = fails("Get")
		_, err := s.Put(t.Context(), "demo", "a", []byte("2"))
		for _, err := range []error{err, s.Delete(t.Context(), "demo", "a")} {
			if !errors.Is(err, errMood) || errors.Is(err, kv.ErrUnannounced) {
				t.Error(err)
			}
		}
		m.Before = nil
		r.expect(t, "")
		holds(t, s, "a", "1")
	})
}

// The deletion of what has expired is done, or says why not.
func TestDeleteExpired(t *testing.T) {
	watch(t, func(t *testing.T, w *watched) {
		w.looks.failWith(errMood)
		put(t, w.Store, "a", "2", kv.TTL(time.Second))
		pass(time.Second)
		w.engine.Before = fails("Delete")
		if err := w.Delete(t.Context(), "demo", "a"); !errors.Is(err, errMood) {
			t.Errorf("a deletion that failed: %v", err)
		}
		w.engine.Before = nil
		if err := w.Delete(t.Context(), "demo", "a"); err != nil {
			t.Error(err)
		}
		if got := w.stored(t); got != "" {
			t.Errorf("%q is still stored", got)
		}
	})
}

// The engine in memory keeps thousands of entries apart.
func TestMemoryOfMany(t *testing.T) {
	engine := kv.NewMemory()
	want := make(map[string]string)
	random := rand.New(rand.NewPCG(1, 2))
	noon := time.UnixMilli(1_800_000_000_000)
	for i := range 5000 {
		n := random.IntN(2000)
		key, value := fmt.Sprintf("%04d", n), fmt.Sprint(i)
		if random.IntN(4) == 0 {
			if err := engine.Delete(t.Context(), "demo", key); err != nil {
				t.Fatal(err)
			}
			delete(want, key)
			continue
		}
		e := kv.Entry{Namespace: "demo", Key: key, Value: []byte(value), Expires: noon.Add(time.Duration(-n) * time.Second)}
		if err := engine.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		want[key] = value
		if got, err := engine.Get(t.Context(), "demo", key); err != nil || string(got.Value) != value {
			t.Fatalf("%s holds %q, %v; want %q", key, got.Value, err, value)
		}
	}
	var keys []string
	for n := range 2000 {
		key := fmt.Sprintf("%04d", n)
		got, err := engine.Get(t.Context(), "demo", key)
		if value, there := want[key]; there != (err == nil) || string(got.Value) != value {
			t.Fatalf("%s holds %q, %v; want %q", key, got.Value, err, value)
		} else if there {
			keys = append(keys, key)
		}
	}
	list, err := engine.List(t.Context(), "demo", "", "", 2000)
	soonest, err2 := engine.Expiring(t.Context(), 2000)
	if err != nil || err2 != nil || len(list) != len(keys) || len(soonest) != len(keys) {
		t.Fatalf("%d are listed, and %d expire, of %d: %v, %v", len(list), len(soonest), len(keys), err, err2)
	}
	for i, key := range keys {
		if list[i].Key != key || soonest[len(keys)-1-i].Key != key {
			t.Fatalf("%s is at its place in neither %s nor %s", key, list[i].Key, soonest[len(keys)-1-i].Key)
		}
	}
}
