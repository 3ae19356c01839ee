package timely

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errOwn = errors.New("own")

func never(*Panicked) {}

func TestDo(t *testing.T) {
	deaf := func(d time.Duration) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { time.Sleep(d); return 1, nil }
	}
	for name, c := range map[string]struct {
		f     func(context.Context) (int, error)
		takes time.Duration
		value int
		errs  []error
	}{
		"returns":            {deaf(time.Second), time.Second, 1, nil},
		"fails":              {func(context.Context) (int, error) { return 0, errOwn }, 0, 0, []error{errOwn}},
		"obeys":              {func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, errOwn }, 5 * time.Second, 0, []error{errOwn}},
		"is a moment late":   {deaf(5*time.Second + grace - 1), 5*time.Second + grace - 1, 1, nil},
		"does not obey":      {deaf(time.Hour), 5*time.Second + grace, 0, []error{ErrLeft, context.DeadlineExceeded}},
		"ends its goroutine": {func(context.Context) (int, error) { runtime.Goexit(); return 1, nil }, 0, 0, []error{errGoexit}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				calls := New(1, never)
				value, err := Do(ctx, calls, c.f)
				defer func() { _ = calls.Wait(t.Context()) }()
				if took := time.Since(began); value != c.value || took != c.takes || (err == nil) != (c.errs == nil) {
					t.Errorf("%d, %v after %v", value, err, took)
				}
				for _, want := range c.errs {
					if !errors.Is(err, want) {
						t.Errorf("%v is not %v", err, want)
					}
				}
			})
		})
	}
}

// So many calls may be abandoned, and no more; each that returns after all makes
// room for another.
func TestLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, hold := New(2, never), make(chan struct{})
		call := func(f func()) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := Do(ctx, c, func(context.Context) (int, error) { f(); return 0, nil })
			return err
		}
		for range 2 {
			if err := call(func() { <-hold }); !errors.Is(err, ErrLeft) {
				t.Error(err)
			}
		}
		if err := call(func() { t.Error("called") }); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Wait(late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait returned %v while two calls run", err)
		}
		time.AfterFunc(time.Second, func() { close(hold) })
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if err := call(func() {}); err != nil {
			t.Error(err)
		}
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan *Panicked, 1)
		c := New(1, func(p *Panicked) { told <- p })
		func() {
			defer func() {
				p, _ := recover().(*Panicked)
				if p == nil || !errors.Is(p, errOwn) || !strings.Contains(p.Error(), "own") || !strings.Contains(p.Error(), "TestPanic") {
					t.Errorf("panicked with %v", p)
				}
			}()
			_, _ = Do(t.Context(), c, func(context.Context) (int, error) { panic(errOwn) })
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Do(ctx, c, func(context.Context) (int, error) { time.Sleep(time.Minute); panic("late") }); !errors.Is(err, ErrLeft) {
			t.Error(err)
		}
		if p := <-told; p.Value != "late" {
			t.Errorf("told of %v", p.Value)
		}
	})
}
