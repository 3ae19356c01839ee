package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/kv"
)

// All at one moment, at which versions grow all the same.
func TestWritesAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := open(t, nil)
		ctx := t.Context()
		v1 := put(t, s, "a", "1")
		v2 := put(t, s, "a", "2")
		if e, err := s.Get(ctx, "demo", "a"); err != nil || string(e.Value) != "2" || e.Version != v2 || !e.Expires.IsZero() {
			t.Errorf("got %+v, %v", e, err)
		}
		if err := s.Delete(ctx, "demo", "a"); err != nil {
			t.Error(err)
		}
		if err := s.Delete(ctx, "demo", "a"); err != nil {
			t.Error(err)
		}
		holds(t, s, "a", "")
		v3 := put(t, s, "a", "3")

		events := r.take()
		if len(events) != 4 {
			t.Fatalf("%d events", len(events))
		}
		for i, want := range []realtime.RenEvent{
			realtime.KVPut("demo", "a").WithVersion(v1),
			realtime.KVPut("demo", "a").WithVersion(v2),
			realtime.KVDelete("demo", "a").WithVersion(events[2].Version),
			realtime.KVPut("demo", "a").WithVersion(v3),
		} {
			if got := events[i]; got.Type != want.Type || got.Namespace != want.Namespace || got.Key != want.Key || got.Version != want.Version {
				t.Errorf("event %d is %+v, want %+v", i, got, want)
			}
		}
		ascending(t, events)
	})
}

func TestValuesAreTheCallers(t *testing.T) {
	s, _ := open(t, nil)
	value := []byte("value")
	if _, err := s.Put(t.Context(), "demo", "a", value); err != nil {
		t.Fatal(err)
	}
	value[0] = 'X'
	holds(t, s, "a", "value")
	e, _ := s.Get(t.Context(), "demo", "a")
	e.Value[0] = 'Y'
	holds(t, s, "a", "value")
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &sick{Engine: kv.NewMemory()}
		engine.failWith("Expiring", errDown) // so that what has expired stays
		s, _ := open(t, engine)
		var want []string
		for i := range 250 {
			key := fmt.Sprintf("item:%03d", i)
			if i%5 == 0 {
				put(t, s, key, "x", kv.TTL(time.Minute))
				continue
			}
			put(t, s, key, "x")
			want = append(want, key)
		}
		put(t, s, "other", "x")
		time.Sleep(time.Minute)
		for _, limit := range []int{1, 7, 100, 199, 200, 201, 1000, 0} {
			var got []string
			pages := 0
			for page, cursor := (kv.Page{}), ""; ; cursor = page.Cursor {
				var err error
				page, err = s.List(t.Context(), "demo", kv.ListOptions{Prefix: "item:", Limit: limit, Cursor: cursor})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page.Entries {
					got = append(got, e.Key)
				}
				if pages++; page.Cursor == "" {
					break
				}
			}
			full := limit
			if full == 0 {
				full = 100
			}
			if strings.Join(got, " ") != strings.Join(want, " ") || pages != (200+full-1)/full {
				t.Errorf("limit %d: %d pages of %d keys", limit, pages, len(got))
			}
		}
	})
}

// TestOrder: 64 writers put, delete and let expire the same keys. The events of a
// key come in the order of its versions, and tell how it ended.
func TestOrder(t *testing.T) {
	s, r := open(t, nil)
	keys := []string{"a", "b", "c"}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 50 {
				key := keys[rand.N(len(keys))]
				var err error
				switch rand.N(4) {
				case 0:
					err = s.Delete(t.Context(), "demo", key)
				case 1:
					_, err = s.Put(t.Context(), "demo", key, []byte("x"), kv.TTL(time.Duration(1+rand.N(3))*time.Millisecond))
				default:
					_, err = s.Put(t.Context(), "demo", key, []byte("x"))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, key := range keys { // so that nothing is left to expire
		put(t, s, key, "x")
	}
	events := r.take()
	ascending(t, events)
	alive, last := map[string]bool{}, map[string]realtime.RenEvent{}
	for _, ev := range events {
		if ev.Type != "kv.put" && !alive[ev.Key] {
			t.Fatalf("%s of a key that was not there", ev.Type)
		}
		alive[ev.Key], last[ev.Key] = ev.Type == "kv.put", ev
	}
	for _, key := range keys {
		if e, err := s.Get(t.Context(), "demo", key); err != nil || e.Version != last[key].Version {
			t.Errorf("%s holds %+v (%v), its last event is %+v", key, e, err, last[key])
		}
	}
}

// TestOtherKeysDoNotWait: a key whose event is on its way does not hold others up.
func TestOtherKeysDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := open(t, nil)
		release := r.hold()
		var first, second, waits sync.WaitGroup
		first.Go(func() { put(t, s, "a", "1") })
		synctest.Wait()
		second.Go(func() { put(t, s, "a", "2") })
		synctest.Wait()
		holds(t, s, "a", "1") // it is stored; who reads does not wait
		waits.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := s.Put(ctx, "demo", "a", nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting for the key ended with %v", err)
			}
		})
		waits.Wait()
		r.mu.Lock()
		r.gate = nil
		r.mu.Unlock()
		put(t, s, "b", "1")
		r.expect(t, "put:b")
		release()
		first.Wait()
		second.Wait()
		r.expect(t, "put:a put:a")
		holds(t, s, "a", "2")
	})
}

func TestUnannounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := open(t, nil)
		r.failWith(errDown)
		version, err := s.Put(t.Context(), "demo", "a", []byte("1"))
		if !errors.Is(err, kv.ErrUnannounced) || !errors.Is(err, errDown) || version == "" {
			t.Errorf("put: %q, %v", version, err)
		}
		holds(t, s, "a", "1")
		if err := s.Delete(t.Context(), "demo", "a"); !errors.Is(err, kv.ErrUnannounced) || !errors.Is(err, errDown) {
			t.Errorf("delete: %v", err)
		}
		holds(t, s, "a", "")

		r.failWith(realtime.ErrMaybeStored)
		if _, err := s.Put(t.Context(), "demo", "a", []byte("2")); !errors.Is(err, kv.ErrUnannounced) || !errors.Is(err, realtime.ErrMaybeStored) {
			t.Errorf("put, perhaps stored: %v", err)
		}
		r.failWith(nil)
		put(t, s, "a", "3")
		r.expect(t, "put:a put:a") // the second and the third
	})
}

// TestUnknownOutcome: against a real log, what is perhaps stored is announced
// once, to its writer, even if the writer has gone meanwhile.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := backendtest.NewFaulty(memory.New(memory.Limits{}))
		rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: faulty, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		s := kv.New(rt, nil)
		defer s.Close()
		start := rt.Cursor()
		for i := range 3 {
			faulty.FailAfterStore(2)
			put(t, s, "a", fmt.Sprint(i), kv.TTL(time.Duration(i+1)*time.Minute))
		}
		faulty.FailAfterStore(2)
		time.Sleep(4 * time.Minute)
		var got []string
		for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{}, start) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, ev.Type); ev.Type == "kv.expired" {
				break
			}
		}
		if strings.Join(got, " ") != "kv.put kv.put kv.put kv.expired" {
			t.Errorf("the events are %q", got)
		}
	})
}

func TestEngineFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &sick{Engine: kv.NewMemory()}
		s, r := open(t, engine)
		ctx := t.Context()
		put(t, s, "a", "1")
		r.expect(t, "put:a")
		broken := errors.New("disk full")
		for method, call := range map[string]func() error{
			"Put":    func() error { _, err := s.Put(ctx, "demo", "a", nil); return err },
			"Get":    func() error { _, err := s.Get(ctx, "demo", "a"); return err },
			"Delete": func() error { return s.Delete(ctx, "demo", "a") },
			"List":   func() error { _, err := s.List(ctx, "demo", kv.ListOptions{}); return err },
		} {
			engine.failWith(method, broken)
			if err := call(); !errors.Is(err, broken) || errors.Is(err, kv.ErrUnannounced) {
				t.Errorf("%s: %v", method, err)
			}
			engine.failWith(method, nil)
		}
		r.expect(t, "")
		holds(t, s, "a", "1")
		put(t, s, "a", "2") // all locks were released
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := open(t, nil)
		put(t, s, "expires", "1", kv.TTL(time.Minute))
		r.take()
		release := r.hold()
		var writing, closing sync.WaitGroup
		writing.Go(func() { put(t, s, "a", "1") })
		synctest.Wait()
		closed := false
		closing.Go(func() {
			s.Close()
			closed = true
		})
		synctest.Wait()
		if closed {
			t.Error("Close did not wait for a call")
		}
		_, putErr := s.Put(t.Context(), "demo", "b", nil)
		_, getErr := s.Get(t.Context(), "demo", "a")
		_, listErr := s.List(t.Context(), "demo", kv.ListOptions{})
		for _, err := range []error{putErr, getErr, listErr, s.Delete(t.Context(), "demo", "a")} {
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		release()
		writing.Wait()
		closing.Wait()
		s.Close()
		time.Sleep(time.Hour)
		r.expect(t, "put:a") // and nothing expires
	}) // which fails if a goroutine is left
}

func BenchmarkPut(b *testing.B) {
	value := []byte(strings.Repeat("x", 128))
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer rt.Close(context.Background())
	for _, keys := range []int{1, 1000, 100_000} {
		for name, opts := range map[string][]kv.PutOption{"plain": nil, "TTL": {kv.TTL(time.Hour)}} {
			b.Run(fmt.Sprintf("keys=%d/%s", keys, name), func(b *testing.B) {
				s := kv.New(rt, nil)
				defer s.Close()
				names := make([]string, keys)
				for i := range names {
					names[i] = fmt.Sprintf("todolist:%d:item", i)
					put(b, s, names[i], "x", opts...)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := s.Put(b.Context(), "demo", names[i%keys], value, opts...); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s, _ := open(b, nil)
	const keys = 100_000
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("todolist:%d:item", i)
		put(b, s, names[i], "x")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Get(b.Context(), "demo", names[i%keys]); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMaxValue: the limit is the host's to set, and to switch off.
func TestMaxValue(t *testing.T) {
	for limit, want := range map[int]error{0: kv.ErrTooLarge, 1 << 19: kv.ErrTooLarge, 1<<20 + 1: nil, -1: nil} {
		s := kv.New(&recorder{}, &kv.Options{MaxValue: limit})
		defer s.Close()
		if _, err := s.Put(t.Context(), "demo", "a", make([]byte, 1<<20+1)); !errors.Is(err, want) {
			t.Errorf("with %d: %v", limit, err)
		}
	}
}
