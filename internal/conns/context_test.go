package conns_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
)

type valueKey struct{}

// A context ends once, for its first reason, and with it all that derives from it, at
// once: before End returns.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c conns.Context
		c.Begin(context.WithValue(context.Background(), valueKey{}, "v"))
		child, cancel := context.WithTimeout(&c, time.Hour)
		defer cancel()
		var called []int
		stops := make([]func() bool, 4)
		for i := range stops {
			stops[i] = c.AfterFunc(func() { called = append(called, i) })
		}
		if !stops[1]() || stops[1]() || !stops[3]() {
			t.Error("a function is not stopped, or is twice")
		}
		if c.Err() != nil || c.Cause() != nil || child.Err() != nil || child.Value(valueKey{}) != "v" {
			t.Errorf("%v, %v, %v, %v", c.Err(), c.Cause(), child.Err(), child.Value(valueKey{}))
		}
		select {
		case <-c.Done():
			t.Error("it is done")
		default:
		}
		first := errors.New("first")
		c.End(first)
		c.End(errors.New("second"))
		if c.Err() != context.Canceled || c.Cause() != first || child.Err() != context.Canceled {
			t.Errorf("%v, %v, %v", c.Err(), c.Cause(), child.Err())
		}
		if len(called) != 2 || called[0] != 2 || called[1] != 0 {
			t.Errorf("%v are called", called)
		}
		if stops[0]() {
			t.Error("a function is stopped that was called")
		}
		<-c.Done()
		<-child.Done()
		late := make(chan struct{})
		if c.AfterFunc(func() { close(late) })() {
			t.Error("a function is stopped though it has ended")
		}
		<-late
	})
}

// Whichever of those who wait stop, the end calls the others, the newest first.
func TestContextStops(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var c conns.Context
		c.Begin(context.Background())
		var called, waiting []int
		var stops []func() bool
		for i := range 10 {
			waiting = append(waiting, i)
			stops = append(stops, c.AfterFunc(func() { called = append(called, i) }))
			for len(waiting) > 0 && r.IntN(2) == 0 {
				at := r.IntN(len(waiting))
				if stop := stops[waiting[at]]; !stop() || stop() {
					t.Fatalf("seed %d: it is not stopped, or is twice", seed)
				}
				waiting = slices.Delete(waiting, at, at+1)
			}
		}
		c.End(nil)
		if slices.Reverse(waiting); !slices.Equal(called, waiting) {
			t.Fatalf("seed %d: %v are called, want %v", seed, called, waiting)
		}
	}
}

// What derives from its Parent ends with it as well.
func TestContextsOfTheParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c conns.Context
		c.Begin(context.Background())
		other, stopOther := context.WithCancel(c.Parent())
		stopOther()
		derived, stopDerived := context.WithTimeout(c.Parent(), time.Hour)
		defer stopDerived()
		deep, stopDeep := context.WithTimeout(context.WithValue(derived, valueKey{}, "deep"), time.Hour)
		defer stopDeep()
		told := make(chan struct{})
		context.AfterFunc(c.Parent(), func() { close(told) })
		if c.Err() != nil || other.Err() != context.Canceled || derived.Err() != nil || deep.Err() != nil {
			t.Errorf("%v, %v, %v, %v", c.Err(), other.Err(), derived.Err(), deep.Err())
		}
		c.End(errors.New("first"))
		if derived.Err() != context.Canceled || deep.Err() != context.Canceled {
			t.Errorf("derived: %v, %v", derived.Err(), deep.Err())
		}
		<-told
		<-deep.Done()
		after, stopAfter := context.WithCancel(c.Parent())
		defer stopAfter()
		if after.Err() == nil {
			t.Error("what is derived from a context that has ended goes on")
		}
	})
}

// Who asks for Done after the end gets a channel that is closed; and an end without a
// reason is a cancellation.
func TestContextDoneLate(t *testing.T) {
	var c conns.Context
	c.Begin(context.Background())
	c.End(nil)
	<-c.Done()
	if c.Cause() != context.Canceled {
		t.Error(c.Cause())
	}
}

// A context that nobody waits for keeps nothing of those that have.
func TestContextForgets(t *testing.T) {
	var c conns.Context
	c.Begin(context.Background())
	if n := testing.AllocsPerRun(100, func() {
		_ = c.Err()
		_ = c.Cause()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	for range 3 {
		_, cancel := context.WithTimeout(c.Parent(), time.Hour)
		cancel()
	}
	if c.Waits() {
		t.Error("a child that has ended, or a channel for it, is kept")
	}
}
