package detach_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/publish/detach"
)

type key struct{}

func TestFollowsTheCallerUntilDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Minute)
		defer cancel()
		c := detach.New(caller)
		defer c.Cancel()
		d := detach.New(caller)
		defer d.Cancel()
		if err := d.Detach(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if c.Err() == nil || d.Err() != nil || d.Value(key{}) != "value" {
			t.Errorf("%v, %v, %v", c.Err(), d.Err(), d.Value(key{}))
		}
		if err := c.Detach(); err != context.DeadlineExceeded {
			t.Errorf("detached too late: %v", err)
		}
		if err := c.Explain(fmt.Errorf("wrapped: %w", c.Err())); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the end of the caller is %v", err)
		}
		if err := d.Explain(context.DeadlineExceeded); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a deadline of the callee's own is taken for the caller's: %v", err)
		}
	})
}

func TestEndedBefore(t *testing.T) {
	caller, cancel := context.WithCancel(t.Context())
	cancel()
	c := detach.New(caller)
	defer c.Cancel()
	if c.Err() == nil {
		t.Error("it has not ended")
	}
	err := detach.Write(caller, time.Second, func(context.Context) error {
		t.Error("called")
		return nil
	})
	if err != context.Canceled {
		t.Error(err)
	}
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		for name, call := range map[string]func(context.Context, time.Duration, func(context.Context) error) error{
			"read": detach.Read, "write": detach.Write,
		} {
			began := time.Now()
			err := call(t.Context(), time.Minute, silent)
			if !errors.Is(err, detach.ErrNoAnswer) || errors.Is(err, context.Canceled) || time.Since(began) != time.Minute {
				t.Errorf("%s: after %v: %v", name, time.Since(began), err)
			}
			caller, cancel := context.WithTimeout(t.Context(), time.Second)
			err = call(caller, time.Minute, silent)
			if ended := errors.Is(err, context.DeadlineExceeded); ended != (name == "read") {
				t.Errorf("%s: when the caller ends: %v", name, err)
			}
			cancel()
		}
		c := detach.New(t.Context())
		c.Bound(time.Second)()
		time.Sleep(time.Minute)
		if c.Err() != nil {
			t.Error("a bound that was taken back ends it")
		}
		c.Bound(time.Second)
		time.Sleep(time.Minute)
		if err := c.Detach(); err != detach.ErrNoAnswer {
			t.Errorf("detached after its time: %v", err)
		}
		c.Cancel()
	})
}

// From the point of no return on, no error is taken for the end of the caller's context:
// not the callee's own, whether the caller has gone or waits.
func TestErrorsOfTheCalleesOwn(t *testing.T) {
	for _, own := range []error{context.DeadlineExceeded, context.Canceled} {
		fail := func(context.Context) error { return fmt.Errorf("dial: %w", own) }
		err := detach.Write(t.Context(), time.Minute, fail)
		if errors.Is(err, own) || err == nil || err.Error() != "dial: "+own.Error() {
			t.Errorf("a write: %v", err)
		}
		if err := detach.Read(t.Context(), time.Minute, fail); !errors.Is(err, own) {
			t.Errorf("a read: %v", err)
		}
	}
}

func TestOpaque(t *testing.T) {
	other := errors.New("other")
	err := detach.Opaque(fmt.Errorf("%w: %w", other, context.Canceled))
	if !errors.Is(err, other) || errors.Is(err, context.Canceled) || err.Error() != "other: context canceled" {
		t.Error(err)
	}
	if detach.Opaque(nil) != nil || detach.Opaque(other) != other {
		t.Error("it hides what is to be seen")
	}
}
