package lanes

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOrderAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, tasks, workers = 10, 50, 4
		type task struct {
			key string
			n   int
		}
		var mu sync.Mutex
		done := map[string][]int{}
		tried := map[task]bool{}
		var running, most atomic.Int32
		l := New(workers, func(it task) time.Duration {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Duration(rand.IntN(1000)))
			mu.Lock()
			defer mu.Unlock()
			if !tried[it] && rand.IntN(3) == 0 { // fails the first time
				tried[it] = true
				return time.Duration(1 + rand.IntN(1000))
			}
			done[it.key] = append(done[it.key], it.n)
			return 0
		})
		for n := range tasks {
			for k := range keys {
				l.Add(fmt.Sprint(k), task{fmt.Sprint(k), n})
			}
		}
		time.Sleep(time.Second)
		l.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for k := range keys {
			if got := done[fmt.Sprint(k)]; len(got) != tasks || !slices.IsSorted(got) {
				t.Errorf("lane %d ran %v", k, got)
			}
		}
		if n := most.Load(); n != workers {
			t.Errorf("%d ran at once, want %d", n, workers)
		}
		if len(l.lanes) != 0 || l.running != 0 {
			t.Errorf("%d lanes and %d workers are left", len(l.lanes), l.running)
		}
	})
}

// A lane that waits has no worker, so that one is enough for the others.
func TestWaitingLaneHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		l := New(1, func(task string) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, task)
			if task == "a1" && len(got) < 4 {
				return time.Hour
			}
			return 0
		})
		defer l.Close()
		for _, task := range []string{"a1", "a2", "b1", "c1", "b2"} {
			l.Add(task[:1], task)
		}
		ran := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("ran %v, want %v", got, want)
			}
		}
		ran("a1", "b1", "c1", "b2")
		time.Sleep(time.Hour)
		ran("a1", "b1", "c1", "b2", "a1", "a2")
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int32
		l := New(2, func(task string) time.Duration {
			ran.Add(1)
			if task == "waits" {
				return time.Minute
			}
			time.Sleep(time.Second)
			return 0
		})
		for _, task := range []string{"waits", "runs", "too", "late"} {
			l.Add(task, task)
		}
		l.Add("runs", "after")
		synctest.Wait()
		start := time.Now()
		l.Close()
		l.Add("after", "after")
		if d := time.Since(start); d != time.Second {
			t.Errorf("Close took %v", d)
		}
		time.Sleep(time.Hour)
		if n := ran.Load(); n != 3 || l.lanes["after"] != nil { // waits, runs, too
			t.Errorf("%d tasks ran; one that came after Close waits: %v", n, l.lanes["after"] != nil)
		}
	})
}

// A task that ends its goroutine costs no worker, and is run again.
func TestTaskEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		added := make(chan struct{})
		l := New(1, func(task string) time.Duration {
			mu.Lock()
			got = append(got, task)
			ends := len(got) == 1
			mu.Unlock()
			if ends {
				<-added
				runtime.Goexit()
			}
			return 0
		})
		defer l.Close()
		for _, task := range []string{"a1", "a2", "b1"} {
			l.Add(task[:1], task)
		}
		close(added)
		synctest.Wait()
		if !slices.Equal(got, []string{"a1", "b1", "a1", "a2"}) {
			t.Errorf("ran %v", got)
		}
	})
}

// Closing while timers fire must neither miss one nor wait for it twice.
func TestCloseAgainstTimers(t *testing.T) {
	for range 300 {
		l := New(3, func(int) time.Duration { return 1 })
		for k := range 20 {
			l.Add(fmt.Sprint(k), k)
		}
		l.Close()
	}
}
