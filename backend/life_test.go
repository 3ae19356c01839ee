package backend_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/maravilla-realtime/realtime/backend"
)

// The calls of a backend end with it, and with their callers.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, released := backend.NewLife(), 0
		release := func() { released++ }
		caller, leave := context.WithCancel(t.Context())
		left, done, err := life.Call(caller)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		kept, done, err := life.Call(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer done()

		leave()
		if err := life.Pause(left, time.Second); !errors.Is(err, context.Canceled) {
			t.Errorf("a pause after the caller has gone: %v", err)
		}
		if _, _, err := life.Call(caller); !errors.Is(err, context.Canceled) {
			t.Errorf("a call of a caller that has gone: %v", err)
		}
		began := time.Now()
		if err := life.Pause(kept, time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("a pause of %v: %v", time.Since(began), err)
		}

		cut := errors.New("cut")
		if err := life.Unanswered(cut); !errors.Is(err, backend.ErrMaybeStored) || !errors.Is(err, cut) || errors.Is(err, backend.ErrClosed) {
			t.Errorf("a change that was not answered: %v", err)
		}

		time.AfterFunc(time.Second, func() { life.End(release) })
		if err := life.Pause(kept, time.Minute); !errors.Is(err, backend.ErrClosed) || time.Since(began) != 2*time.Second {
			t.Errorf("a pause in which the backend is closed: %v after %v", err, time.Since(began))
		}
		life.End(release)
		if err := life.Unanswered(cut); !errors.Is(err, backend.ErrMaybeStored) || !errors.Is(err, backend.ErrClosed) || strings.Count(err.Error(), "backend:") != 1 {
			t.Errorf("a change that was not answered before the end: %v", err)
		}
		if _, _, err := life.Call(t.Context()); !errors.Is(err, backend.ErrClosed) || !life.Ended() || released != 1 {
			t.Errorf("a call of a backend that was closed: %v; released %d times", err, released)
		}
	})
}

// A driver does not keep what its calls had, once they have returned.
func TestLifeForgetsCalls(t *testing.T) {
	type request [64]byte
	life := backend.NewLife()
	call := func() (context.Context, weak.Pointer[request]) {
		r := new(request)
		ctx, done, err := life.Call(context.WithValue(context.Background(), request{}, r))
		if err != nil {
			t.Fatal(err)
		}
		done()
		return ctx, weak.Make(r)
	}
	ctx, _ := call()
	if ctx.Err() == nil {
		t.Error("the context of a call goes on after it")
	}
	_, r := call()
	if runtime.GC(); r.Value() != nil {
		t.Error("what a call had is kept")
	}
	life.End(func() {})
}
