package outbox_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/publish/outbox"
)

// start returns a Realtime whose backend fails on command.
func start(t *testing.T) (*realtime.Realtime, *backendtest.Faulty) {
	t.Helper()
	faulty := backendtest.NewFaulty(memory.New(memory.Limits{}))
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: faulty, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close(context.Background()) })
	return rt, faulty
}

// keys returns the keys of the next n events after the cursor.
func keys(t *testing.T, rt *realtime.Realtime, after realtime.Cursor, n int) (keys string) {
	t.Helper()
	for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{}, after) {
		if err != nil {
			t.Fatal(err)
		}
		keys += ev.Key
		if n--; n == 0 {
			break
		}
	}
	return keys
}

func TestUnknownIsTriedAgainAndStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, faulty := start(t)
		start := rt.Cursor()
		faulty.FailAfterStore(3)
		if err := outbox.Emit(t.Context(), rt, realtime.KVPut("n", "a"), ""); err != nil {
			t.Error(err)
		}
		if err := outbox.Emit(t.Context(), rt, realtime.KVPut("n", "b"), ""); err != nil {
			t.Error(err)
		}
		if got := keys(t, rt, start, 2); got != "ab" {
			t.Errorf("the events are %q, want ab", got)
		}
	})
}

func TestOutlivesItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, _ := start(t)
		start := rt.Cursor()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := outbox.Emit(ctx, rt, realtime.KVPut("n", "a"), ""); err != nil {
			t.Error(err)
		}
		if got := keys(t, rt, start, 1); got != "a" {
			t.Errorf("the event is %q", got)
		}
	})
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, faulty := start(t)
		faulty.FailAfterStore(1000)
		began := time.Now()
		err := outbox.Emit(t.Context(), rt, realtime.KVPut("n", "a"), "")
		if !errors.Is(err, realtime.ErrMaybeStored) {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(began); took != outbox.Patience {
			t.Errorf("it took %v", took)
		}
	})
}

func TestOtherErrorsAreReturnedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, faulty := start(t)
		broken := errors.New("broken")
		faulty.FailAppend(1, broken)
		began := time.Now()
		if err := outbox.Emit(t.Context(), rt, realtime.KVPut("n", "a"), ""); !errors.Is(err, broken) {
			t.Errorf("the error is %v", err)
		}
		if time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
	})
}
