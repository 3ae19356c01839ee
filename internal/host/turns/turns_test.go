package turns_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/host/turns"
)

// ask asks 100 questions, and returns how many were open at the same time, and how long
// the last one took.
func ask(answer func()) (most int64, longest time.Duration) {
	var t turns.Turns
	var all sync.WaitGroup
	var open, slowest atomic.Int64
	for range 100 {
		t.Take()
		most = max(most, open.Add(1))
		all.Go(func() {
			began := time.Now()
			defer t.Give(began)
			answer()
			open.Add(-1)
			for took, was := int64(time.Since(began)), slowest.Load(); took > was && !slowest.CompareAndSwap(was, took); was = slowest.Load() {
			}
		})
	}
	all.Wait()
	return most, time.Duration(slowest.Load())
}

func TestTurns(t *testing.T) {
	for _, c := range []struct {
		name          string
		answer        func(one chan struct{})
		fewest, most  int64
		longest, took time.Duration
	}{
		{"one after the other", func(one chan struct{}) {
			one <- struct{}{}
			time.Sleep(250 * time.Millisecond)
			<-one
		}, 16, 18, 4500 * time.Millisecond, 25 * time.Second},
		{"quick", func(chan struct{}) { time.Sleep(10 * time.Millisecond) }, 40, 64, 10 * time.Millisecond, 40 * time.Millisecond},
		{"slow, any number at once", func(chan struct{}) { time.Sleep(5 * time.Second) }, 64, 64, 5 * time.Second, 11 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one := make(chan struct{}, 1)
				began := time.Now()
				most, longest := ask(func() { c.answer(one) })
				if most < c.fewest || most > c.most || longest > c.longest || time.Since(began) > c.took {
					t.Errorf("%d at once, %v for the longest, %v for all", most, longest, time.Since(began))
				}
			})
		})
	}
}
