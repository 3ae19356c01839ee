package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

// bubble runs a subtest in virtual time, with a Store of its own.
func bubble(t *testing.T, name string, f func(t *testing.T, s *kv.Store, r *recorder, engine *sick)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			engine := &sick{Engine: kv.NewMemory()}
			s, r := open(t, engine)
			synctest.Wait() // the janitor has looked, and sleeps
			f(t, s, r, engine)
		})
	})
}

// pass lets time pass, and what is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestExpiry(t *testing.T) {
	bubble(t, "a key is there until its time is over", expiryInTime)
	bubble(t, "no time is shorter than a millisecond", func(t *testing.T, s *kv.Store, r *recorder, _ *sick) {
		put(t, s, "a", "1", kv.TTL(1))
		holds(t, s, "a", "1")
		pass(time.Millisecond)
		r.expect(t, "put:a expired:a")
	})
	bubble(t, "what is put while the janitor looks expires in time", expiryOfAKeyThatIsPutAgain)
	bubble(t, "what the janitor saw and is put again does not expire", expiryOfAKeyThatThePutEnds)
	bubble(t, "many expire, in the order of time", expiryInOrder)
	bubble(t, "many expire at once", expiryOfMany)
	bubble(t, "a write calls the old expiry off", expiryCalledOff)
	bubble(t, "an expired key is not there before the janitor comes", expiryBeforeTheJanitor)
	bubble(t, "an end that is not announced is not forgotten", expiryAnnouncedAgain)
	bubble(t, "who stores for another process does not wake us, but is seen", expiryOfOthers)
}

func expiryInTime(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	put(t, s, "a", "1", kv.TTL(90*time.Second))
	e, err := s.Get(t.Context(), "demo", "a")
	if want := time.Now().Add(90 * time.Second); err != nil || !e.Expires.Equal(want) {
		t.Errorf("it expires at %v (%v), want %v", e.Expires, err, want)
	}
	pass(90*time.Second - time.Millisecond)
	holds(t, s, "a", "1")
	r.expect(t, "put:a")
	pass(time.Millisecond)
	holds(t, s, "a", "")
	r.expect(t, "expired:a")
	if _, err := engine.Get(t.Context(), "demo", "a"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("it is still stored: %v", err)
	}
	pass(time.Hour)
	r.expect(t, "")
}

// whileItLooks returns when the janitor has seen what expires, and has it wait until looked
// is called.
func whileItLooks(engine *sick) (looked func()) {
	synctest.Wait() // the janitor knows, and looks when it is time
	looking, seen := make(chan struct{}), make(chan struct{})
	engine.afterExpiring(func() {
		looking <- struct{}{}
		<-seen
	})
	<-looking
	return func() {
		engine.afterExpiring(nil)
		close(seen)
	}
}

func expiryOfAKeyThatIsPutAgain(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	put(t, s, "a", "1", kv.TTL(time.Second))
	looked := whileItLooks(engine)
	put(t, s, "b", "1", kv.TTL(5*time.Second))
	looked()
	pass(5 * time.Second)
	r.expect(t, "put:a put:b expired:a expired:b")
}

func expiryOfAKeyThatThePutEnds(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	put(t, s, "a", "1", kv.TTL(time.Second))
	looked := whileItLooks(engine)
	put(t, s, "a", "2")
	r.expect(t, "put:a expired:a put:a")
	looked()
	pass(time.Hour)
	r.expect(t, "")
	holds(t, s, "a", "2")
}

func expiryInOrder(t *testing.T, s *kv.Store, r *recorder, _ *sick) {
	put(t, s, "stays", "x")
	var want []string
	for i := range 350 {
		key := fmt.Sprintf("%03d", 349-i)
		put(t, s, key, "x", kv.TTL(time.Duration(350-i)*time.Second))
		want = append(want, fmt.Sprintf("expired:%03d", i))
	}
	r.take()
	pass(100 * time.Second)
	r.expect(t, strings.Join(want[:100], " "))
	pass(time.Hour)
	r.expect(t, strings.Join(want[100:], " "))
	holds(t, s, "stays", "x")
}

func expiryOfMany(t *testing.T, s *kv.Store, r *recorder, _ *sick) {
	for i := range 1000 {
		put(t, s, fmt.Sprint(i), "x", kv.TTL(time.Second))
	}
	r.take()
	pass(time.Second)
	if n := len(r.take()); n != 1000 {
		t.Errorf("%d events", n)
	}
}

func expiryCalledOff(t *testing.T, s *kv.Store, r *recorder, _ *sick) {
	put(t, s, "kept", "1", kv.TTL(time.Second))
	put(t, s, "kept", "2")
	put(t, s, "longer", "1", kv.TTL(time.Second))
	put(t, s, "longer", "2", kv.TTL(3*time.Second))
	put(t, s, "shorter", "1", kv.TTL(time.Hour))
	put(t, s, "shorter", "2", kv.TTL(2*time.Second))
	put(t, s, "deleted", "1", kv.TTL(time.Second))
	if err := s.Delete(t.Context(), "demo", "deleted"); err != nil {
		t.Fatal(err)
	}
	r.take()
	pass(2 * time.Hour)
	r.expect(t, "expired:shorter expired:longer")
	holds(t, s, "kept", "2")
}

func expiryBeforeTheJanitor(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	engine.failWith("Expiring", errDown)
	pass(time.Minute)
	for _, key := range []string{"read", "deleted", "written"} {
		put(t, s, key, "1", kv.TTL(time.Second))
	}
	r.take()
	pass(time.Second)
	holds(t, s, "read", "")
	if page, err := s.List(t.Context(), "demo", kv.ListOptions{}); err != nil || len(page.Entries) != 0 {
		t.Errorf("listed %+v, %v", page, err)
	}
	r.expect(t, "")
	put(t, s, "written", "2")
	r.expect(t, "expired:written put:written")
	if err := s.Delete(t.Context(), "demo", "deleted"); err != nil {
		t.Error(err)
	}
	r.expect(t, "expired:deleted")
	engine.failWith("Expiring", nil)
	pass(time.Hour)
	r.expect(t, "expired:read")
	holds(t, s, "written", "2")
}

func expiryAnnouncedAgain(t *testing.T, s *kv.Store, r *recorder, _ *sick) {
	put(t, s, "a", "1", kv.TTL(time.Second))
	put(t, s, "b", "1", kv.TTL(time.Second))
	r.take()
	r.failWith(errDown)
	pass(time.Hour)
	holds(t, s, "a", "")
	if _, err := s.Put(t.Context(), "demo", "a", nil); !errors.Is(err, errDown) || errors.Is(err, kv.ErrUnannounced) {
		t.Errorf("a put over an end that cannot be announced: %v", err)
	}
	holds(t, s, "a", "")
	r.failWith(nil)
	pass(time.Minute)
	r.expect(t, "expired:a expired:b")
}

func expiryOfOthers(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	e := kv.Entry{Namespace: "demo", Key: "a", Version: "1", Expires: time.Now().Add(time.Second)}
	if err := engine.Engine.Put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	pass(2 * time.Minute)
	r.expect(t, "expired:a")
}

// TestExpiryIsAnnouncedOnce: the deletion of what has expired fails for a while.
func TestExpiryIsAnnouncedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, err := realtime.New(realtime.Policy{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		engine := &sick{Engine: kv.NewMemory()}
		s := kv.New(rt, &kv.Options{Engine: engine, Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		start := rt.Cursor()
		put(t, s, "a", "1", kv.TTL(time.Second))
		engine.failWith("Delete", errDown)
		pass(time.Minute)
		engine.failWith("Delete", nil)
		pass(time.Minute)
		put(t, s, "a", "2")
		var got []string
		for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{}, start) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, ev.Type); len(got) == 3 {
				break
			}
		}
		if strings.Join(got, " ") != "kv.put kv.expired kv.put" {
			t.Errorf("the events are %q", got)
		}
	})
}

// TestClosedPublisher: a Store that is closed after its Realtime, as it has to be
// where handlers write to it, makes no noise, and its next life announces the rest.
func TestClosedPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		engine, r := kv.NewMemory(), &recorder{fail: realtime.ErrClosed}
		s := kv.New(r, &kv.Options{Engine: engine, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if _, err := s.Put(t.Context(), "demo", "a", nil, kv.TTL(time.Second)); !errors.Is(err, kv.ErrUnannounced) {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s.Close()
		if log.Len() > 0 {
			t.Errorf("log: %s", log.String())
		}
		_, r = open(t, engine)
		synctest.Wait()
		r.expect(t, "expired:a")
	})
}

// TestRestart: what expired while no Store was there is announced by the next,
// and versions go on growing.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := kv.NewMemory()
		before, r := open(t, engine)
		put(t, before, "a", "1", kv.TTL(time.Minute))
		old := put(t, before, "b", "1", kv.TTL(2*time.Hour))
		before.Close()
		r.expect(t, "put:a put:b")
		time.Sleep(time.Hour)

		after, r := open(t, engine)
		synctest.Wait()
		r.expect(t, "expired:a")
		holds(t, after, "b", "1")
		if v := put(t, after, "b", "2"); v <= old {
			t.Errorf("version %q after %q", v, old)
		}
		pass(3 * time.Hour)
		r.expect(t, "put:b")

		// By a clock that was ahead of ours.
		ahead := kv.Entry{Namespace: "demo", Key: "c", Version: "1zzzzzzzzzz"}
		if err := engine.Put(t.Context(), ahead); err != nil {
			t.Fatal(err)
		}
		if v := put(t, after, "c", "2"); v <= ahead.Version {
			t.Errorf("version %q after %q", v, ahead.Version)
		}
	})
}

// A handler that Close waits for can write a key whose time is over by then.
func TestExpiryWhileHandlersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s := kv.New(rt, &kv.Options{Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		var wrote error
		err = rt.OnKVChange(realtime.KVMatch{Key: "a"}, func(ctx context.Context, ev realtime.RenEvent) error {
			time.Sleep(2 * time.Second)
			_, wrote = s.Put(ctx, "demo", "b", nil)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "b", "1", kv.TTL(time.Second))
		put(t, s, "a", "1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := rt.Close(ctx); err != nil || wrote != nil {
			t.Errorf("Close: %v; the handler: %v", err, wrote)
		}
	})
}

// That somebody writes a key whose time is over does not make the end theirs.
func TestExpiryIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, err := realtime.New(realtime.Policy{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		engine := &sick{Engine: kv.NewMemory()}
		engine.failWith("Expiring", errDown) // so that the next write finds it
		s := kv.New(rt, &kv.Options{Engine: engine, Logger: slog.New(slog.DiscardHandler)})
		defer s.Close()
		put(t, s, "a", "1", kv.TTL(time.Second))
		pass(time.Second)
		start := rt.Cursor()
		request := httptest.NewRequest("POST", "/", nil)
		request.Header.Set("X-Ren-Client", "0123456789abcdef")
		rt.Attribute(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := s.Put(r.Context(), "demo", "a", nil); err != nil {
				t.Error(err)
			}
		})).ServeHTTP(httptest.NewRecorder(), request)
		for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{}, start) {
			if err != nil {
				t.Fatal(err)
			}
			if (ev.Source == "") != (ev.Type == "kv.expired") {
				t.Errorf("%s of %q", ev.Type, ev.Source)
			}
			if ev.Type == "kv.put" {
				break
			}
		}
	})
}
