package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// follower is one reader of all events, and what it was told: the keys of
// events, and the reasons of resets.
type follower struct {
	next func() (realtime.RenEvent, error, bool)
	got  []string
}

func (f *follower) read(t *testing.T, n int) {
	t.Helper()
	for range n {
		ev, err, _ := f.next()
		var reset *realtime.ResetError
		switch {
		case errors.As(err, &reset):
			f.got = append(f.got, reset.Reason)
		case err != nil:
			t.Fatal(err)
		default:
			f.got = append(f.got, ev.Key)
		}
	}
}

// faultyWorld is a Realtime on a log that lags, lies and loses, and a reader of it.
type faultyWorld struct {
	*testing.T
	*backendtest.Faulty
	rt *realtime.Realtime
	f  *follower
}

func (w faultyWorld) put(keys ...string) {
	w.Helper()
	for _, key := range keys {
		if err := w.rt.Emit(w.Context(), realtime.KVPut("demo", key)); err != nil {
			w.Fatal(err)
		}
	}
	synctest.Wait()
}

// faultyBackends are faults of a backend.
var faultyBackends = []struct {
	name string
	do   func(faultyWorld)
	want []string
}{
	{"no fault", func(w faultyWorld) { w.put("a", "b"); w.f.read(w.T, 2) }, []string{"a", "b"}},
	{"lags", func(w faultyWorld) {
		w.Hold()
		w.put("a", "b")
		w.Release()
		w.f.read(w.T, 2)
	}, []string{"a", "b"}},
	{"repeats", func(w faultyWorld) {
		w.put("a", "b", "c")
		w.Repeat(3)
		w.put("d")
		w.f.read(w.T, 4)
	}, []string{"a", "b", "c", "d"}},
	{"skips", func(w faultyWorld) {
		w.put("a")
		w.f.read(w.T, 1)
		w.Skip(1)
		w.put("b", "c")
		w.f.read(w.T, 2)
	}, []string{"a", "b", "c"}},
	{"loses its tail", func(w faultyWorld) {
		w.put("a", "b", "c")
		w.f.read(w.T, 3)
		w.LoseTail(2)
		synctest.Wait() // for the node to notice
		w.put("d")
		w.f.read(w.T, 2)
	}, []string{"a", "b", "c", "epoch", "d"}},
	{"changes epoch without a word", func(w faultyWorld) {
		w.put("a")
		w.f.read(w.T, 1)
		w.NewEpoch()
		w.put("b")
		w.f.read(w.T, 2)
	}, []string{"a", "epoch", "b"}},
	{"breaks while following", func(w faultyWorld) {
		w.put("a")
		w.FailFollow(3, errors.New("connection lost"))
		w.put("b")
		w.f.read(w.T, 2)
	}, []string{"a", "b"}},
	{"refuses to store", func(w faultyWorld) {
		full := errors.New("disk full")
		w.FailAppend(1, full)
		if err := w.rt.Emit(w.Context(), realtime.KVPut("demo", "a")); !errors.Is(err, full) {
			w.Errorf("Emit returned %v", err)
		}
		w.put("b")
		w.f.read(w.T, 1)
	}, []string{"b"}},
	{"stores and does not say so", func(w faultyWorld) {
		w.FailAfterStore(1)
		err := w.rt.Emit(w.Context(), realtime.KVPut("demo", "a"), realtime.WithID("once"))
		if !errors.Is(err, realtime.ErrMaybeStored) {
			w.Errorf("Emit returned %v", err)
		}
		if err := w.rt.Emit(w.Context(), realtime.KVPut("demo", "a"), realtime.WithID("once")); err != nil {
			w.Errorf("Emit again returned %v", err)
		}
		w.put("b")
		w.f.read(w.T, 2)
	}, []string{"a", "b"}},
}

// TestFaultyBackend puts a log that lags, lies and loses below a Realtime: its
// readers are told everything once and in order, or are told that they missed
// something.
func TestFaultyBackend(t *testing.T) {
	for _, test := range faultyBackends {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := backendtest.NewFaulty(realtime.NewMemory())
				rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: b, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
				if err != nil {
					t.Fatal(err)
				}
				defer rt.Close(context.Background())
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				next, stop := iter.Pull2(rt.EventsAfter(ctx, realtime.EventMatch{}, rt.Cursor()))
				defer stop()
				f := &follower{next: func() (realtime.RenEvent, error, bool) { return next() }}
				test.do(faultyWorld{t, b, rt, f})
				if diff := cmp.Diff(test.want, f.got); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A node that starts later has the history of the log, so clients can resume on
// it.
func TestANodeStartsWithTheHistoryOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := realtime.NewMemory()
		a, b := newNode(t, shared), (*realtime.Realtime)(nil)
		cursor := a.Cursor()
		for i := range 5 {
			if err := a.Emit(t.Context(), realtime.KVPut("demo", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		b = newNode(t, shared)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ev, err := b.WaitFor(ctx, realtime.EventMatch{Key: "3"}, cursor)
		if err != nil || ev.Key != "3" {
			t.Errorf("got %v, %v", ev, err)
		}
	})
}

// An event that was accepted and never comes back cannot hold Close up for ever.
func TestCloseWithABackendThatIsGone(t *testing.T) {
	for name, gone := range map[string]func(*backendtest.Faulty){
		"silent": (*backendtest.Faulty).Hold,
		"closed": func(b *backendtest.Faulty) { b.Close(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := backendtest.NewFaulty(realtime.NewMemory())
				rt := newNode(t, b)
				b.Hold()
				if err := rt.Emit(t.Context(), realtime.KVPut("demo", "a")); err != nil {
					t.Fatal(err)
				}
				gone(b)
				began := time.Now()
				if err := rt.Close(context.Background()); err != nil || time.Since(began) > 5*time.Second {
					t.Errorf("Close returned %v after %v", err, time.Since(began))
				}
			})
		})
	}
}

func newNode(t *testing.T, b backend.Backend) *realtime.Realtime {
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: b, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close(context.Background()) })
	return rt
}
