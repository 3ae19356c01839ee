package keylock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func lock(t *testing.T, l *Locks, keys ...string) (unlock func()) {
	t.Helper()
	unlock, err := l.Lock(t.Context(), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

// unused fails if l still has memory for keys.
func unused(t *testing.T, l *Locks) {
	t.Helper()
	if len(l.waiting) != 0 {
		t.Errorf("%d keys are left", len(l.waiting))
	}
}

func TestOneAtATime(t *testing.T) {
	var l Locks
	var all sync.WaitGroup
	counts := make([]int, 3) // guarded by the locks alone: the race detector looks
	for range 64 {
		all.Go(func() {
			for i := range 300 {
				key := i % len(counts)
				unlock, err := l.Lock(context.Background(), fmt.Sprint(key))
				if err != nil {
					t.Error(err)
					return
				}
				counts[key]++
				unlock()
			}
		})
	}
	all.Wait()
	if want := 64 * 100; counts[0] != want || counts[1] != want || counts[2] != want {
		t.Errorf("counted %v, want %d each", counts, want)
	}
	unused(t, &l)
}

func TestNoCircle(t *testing.T) {
	var l Locks
	var all sync.WaitGroup
	orders := [][]string{{"a", "b", "c"}, {"c", "b", "a"}, {"b", "a", "b"}, {"c", "a"}}
	for i := range 32 {
		all.Go(func() {
			for range 100 {
				keys := orders[i%len(orders)]
				before := slices.Clone(keys)
				unlock, err := l.Lock(context.Background(), keys...)
				if err != nil {
					t.Error(err)
					return
				}
				unlock()
				if !slices.Equal(keys, before) {
					t.Errorf("the caller's keys have become %q", keys)
				}
			}
		})
	}
	all.Wait()
	unused(t, &l)
}

func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		var all sync.WaitGroup
		var order []int
		unlock := lock(t, &l, "a")
		for i := range 5 {
			all.Go(func() {
				defer lock(t, &l, "a")()
				order = append(order, i)
			})
			synctest.Wait()
		}
		unlock()
		all.Wait()
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("served in the order %v", order)
		}
		unused(t, &l)
	})
}

func TestContext(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	var free Locks
	if _, err := free.Lock(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock with an ended context: %v", err)
	}
	unused(t, &free)

	synctest.Test(t, func(t *testing.T) {
		var l Locks
		unlock := lock(t, &l, "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Lock(ctx, "a", "b"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock past its deadline: %v", err)
		}
		lock(t, &l, "a")() // was not kept
		unlock()
		lock(t, &l, "b")()
		unused(t, &l)
	})
}

// Where one of those who wait gives up, the lock stays with whom has it.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		unlock := lock(t, &l, "a")
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := l.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a lock that somebody has: %v", err)
			}
		}
		unlock()
		lock(t, &l, "a")()
		unused(t, &l)
	})
}

// TestLateTurn: a lock that is handed to somebody who gives up is handed on.
func TestLateTurn(t *testing.T) {
	var l Locks
	unlock := lock(t, &l, "a")
	turn, later := l.join("a"), l.join("a")
	unlock()
	<-turn
	l.giveUp("a", turn)
	<-later
	l.unlock([]string{"a"})
	unused(t, &l)
}
