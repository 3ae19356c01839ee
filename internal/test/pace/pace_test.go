package pace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// at runs a test in virtual time, on a machine that is so many times slower.
func at(t *testing.T, factor *float64, f func(t *testing.T)) {
	t.Helper()
	real := measure
	t.Cleanup(func() { measure = real; last.at = time.Time{} })
	measure = func() time.Duration { return time.Duration(*factor * float64(usual)) }
	last.at = time.Time{}
	synctest.Test(t, f)
}

// set makes the machine slower or faster; measure is called under the same lock.
func set(factor *float64, to float64) {
	last.Lock()
	defer last.Unlock()
	*factor = to
}

func TestFactor(t *testing.T) {
	for measured, want := range map[float64]float64{0.1: 1, 1: 1, 7: 7, 1000: most} {
		at(t, &measured, func(t *testing.T) {
			if got := Factor(); got != want {
				t.Errorf("a machine that is %v times slower: %v, want %v", measured, got, want)
			}
			if got := Slow(time.Second); got != time.Duration(want)*time.Second {
				t.Errorf("a second becomes %v", got)
			}
		})
	}
	last.at = time.Time{}
	if got := Factor(); got < 1 || got > most {
		t.Errorf("this machine: %v", got)
	}
}

// A measurement counts for a while, and is then made again.
func TestFactorIsRenewed(t *testing.T) {
	factor := 2.0
	at(t, &factor, func(t *testing.T) {
		Factor()
		set(&factor, 3)
		if time.Sleep(fresh); Factor() != 2 {
			t.Error("it is measured too often")
		}
		if time.Sleep(time.Nanosecond); Factor() != 3 {
			t.Error("it is not measured again")
		}
	})
}

// Limits stretch with the pace, also when it changes meanwhile.
func TestLimits(t *testing.T) {
	factor := 4.0
	at(t, &factor, func(t *testing.T) {
		near := func(what string, began time.Time, want time.Duration) {
			t.Helper()
			if took := time.Since(began); (took - want).Abs() > 2*look {
				t.Errorf("%s took %v, want about %v", what, took, want)
			}
		}
		began := time.Now()
		if Poll(10*time.Second, time.Second, func() bool { return false }) {
			t.Error("no is taken for yes")
		}
		near("Poll", began, 40*time.Second)
		began, asked := time.Now(), 0
		if !Poll(10*time.Second, time.Second, func() bool { asked++; return asked == 5 }) || time.Since(began) != 4*time.Second {
			t.Errorf("yes is heard after %v", time.Since(began))
		}
		if !Poll(0, time.Second, func() bool { return true }) {
			t.Error("nothing is asked where no time is left")
		}

		began = time.Now()
		ctx, cancel := WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		time.Sleep(40 * time.Second) // half of it
		set(&factor, 1)
		<-ctx.Done()
		near("WithTimeout", began, 50*time.Second)
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("it ends with %v", context.Cause(ctx))
		}
	})
}

func TestCancel(t *testing.T) {
	factor := 1.0
	at(t, &factor, func(t *testing.T) {
		ctx, cancel := WithTimeout(t.Context(), time.Minute)
		cancel()
		if !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("it ends with %v", context.Cause(ctx))
		}
		time.Sleep(time.Hour) // no timer goes on
	})
}
