package shard

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// runner calls itself when it is run.
type runner func() (time.Time, bool)

func (f runner) Run() (time.Time, bool) { return f() }

// pool returns a pool that ends with the test, if all of its tasks do.
func pool(t testing.TB, n int) *Pool {
	t.Helper()
	var goroutines sync.WaitGroup
	p := New(n, goroutines.Go, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { p.Close(); goroutines.Wait() })
	return p
}

// A task that is woken any number of times before it runs does so once, and once more
// if it is woken while it runs.
func TestWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, 1)
		var runs atomic.Int32
		var again, end atomic.Bool
		var task *Task
		task = p.NewTask(runner(func() (time.Time, bool) {
			if runs.Add(1); again.Swap(false) {
				task.Wake()
				task.Wake()
			}
			return time.Time{}, !end.Load()
		}))
		want := func(n int32) {
			t.Helper()
			synctest.Wait()
			if got := runs.Swap(0); got != n {
				t.Errorf("ran %d times, want %d", got, n)
			}
		}
		task.Wake() // it has not begun
		want(0)
		task.Start()
		want(1)
		busy, release := make(chan struct{}), make(chan struct{})
		blocker := p.NewTask(runner(func() (time.Time, bool) { close(busy); <-release; return time.Time{}, false }))
		blocker.Start()
		<-busy
		for range 100 {
			task.Wake()
		}
		close(release)
		want(1)
		again.Store(true)
		task.Wake()
		want(2)
		end.Store(true)
		task.Wake()
		want(1)
		if !task.woken.Load() {
			t.Error("a task that has ended can be woken")
		}
		task.Wake()
		want(0)
	})
}

// Tasks run at the times that they ask for, the earliest first, and no longer at one
// that they have taken back.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, 1)
		began := time.Now()
		var mu sync.Mutex
		var ran []time.Duration
		for _, first := range []time.Duration{7, 3, 5, 3, 90} {
			asked := 0
			p.NewTask(runner(func() (time.Time, bool) {
				mu.Lock()
				defer mu.Unlock()
				if asked++; asked > 1 {
					ran = append(ran, time.Since(began))
				}
				switch asked {
				case 1:
					return began.Add(first * time.Hour), true
				case 2:
					return began.Add(10 * first * time.Hour), true
				}
				return time.Time{}, false
			})).Start()
		}
		time.Sleep(1000 * time.Hour)
		synctest.Wait()
		const h = time.Hour
		if want := []time.Duration{3 * h, 3 * h, 5 * h, 7 * h, 30 * h, 30 * h, 50 * h, 70 * h, 90 * h, 900 * h}; !slices.Equal(ran, want) {
			t.Errorf("ran at %v, want %v", ran, want)
		}
	})
}

// A task that is woken earlier may put its time off, or ask for none.
func TestTimeChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, 1)
		var at atomic.Int64 // seconds; 0: none; negative: the end
		var runs atomic.Int32
		task := p.NewTask(runner(func() (time.Time, bool) {
			runs.Add(1)
			switch n := at.Load(); {
			case n < 0:
				return time.Time{}, false
			case n > 0:
				return time.Now().Add(time.Duration(n) * time.Second), true
			}
			return time.Time{}, true
		}))
		step := func(next int64, wait time.Duration, want int32) {
			t.Helper()
			at.Store(next)
			task.Wake()
			synctest.Wait()
			runs.Store(0)
			time.Sleep(wait)
			synctest.Wait()
			if got := runs.Load(); got != want {
				t.Errorf("after %v with %d s ran %d times, want %d", wait, next, got, want)
			}
		}
		task.Start()
		step(10, 9*time.Second, 0)
		step(10, 9*time.Second, 0) // put off
		step(10, 35*time.Second, 3)
		step(0, time.Hour, 0)
		step(2, 2*time.Second, 1)
		step(-1, time.Hour, 0)
	})
}

// Each of many tasks runs at its time, however often they change theirs, and those that have
// ended are let go.
func TestTimesModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, rnd := pool(t, 1), rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		var ending bool
		due, tasks := make([]time.Time, 30), make([]*Task, 30)
		for i := range tasks {
			tasks[i] = p.NewTask(runner(func() (time.Time, bool) {
				mu.Lock()
				defer mu.Unlock()
				if late := time.Since(due[i]); late > 0 && !due[i].IsZero() {
					t.Errorf("%d ran %v after its time", i, late)
				}
				if due[i] = time.Now().Add(time.Duration(1+rnd.IntN(50)) * time.Second); rnd.IntN(4) == 0 {
					due[i] = time.Time{}
				}
				return due[i], !ending
			}))
			tasks[i].Start()
		}
		for range 1000 {
			time.Sleep(time.Second)
			synctest.Wait()
			tasks[rnd.IntN(len(tasks))].Wake()
			synctest.Wait()
			mu.Lock()
			for i, at := range due {
				if !at.IsZero() && at.Before(time.Now()) {
					t.Errorf("%d has not run %v after its time", i, time.Since(at))
				}
			}
			mu.Unlock()
		}
		mu.Lock()
		ending = true
		mu.Unlock()
		for _, task := range tasks {
			task.Ready(0)
		}
		synctest.Wait()
		if n := len(p.shards[0].later); n > 0 {
			t.Errorf("%d tasks that have ended wait for their time", n)
		}
	})
}

// A task that has much to do makes no other wait: it is asked again after the others.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, 1)
		var order []string // of the shard, and of the test when that waits
		const turns = 3
		tasks := make([]*Task, 3)
		for i, name := range []string{"a", "b", "c"} {
			left := turns
			tasks[i] = p.NewTask(runner(func() (time.Time, bool) {
				order = append(order, name)
				if left--; left > 0 {
					tasks[i].Wake()
				}
				return time.Time{}, left > 0
			}))
		}
		hold := make(chan struct{})
		p.NewTask(runner(func() (time.Time, bool) { <-hold; return time.Time{}, false })).Start()
		for _, task := range tasks {
			task.Start()
		}
		close(hold)
		synctest.Wait()
		if want := []string{"a", "b", "c", "a", "b", "c", "a", "b", "c"}; !slices.Equal(order, want) {
			t.Errorf("ran %v, want %v", order, want)
		}
	})
}

// Close waits for tasks that have not ended, wherever they are.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var goroutines sync.WaitGroup
		p := New(4, goroutines.Go, slog.New(slog.DiscardHandler))
		var end atomic.Bool
		var tasks []*Task
		for range 10 {
			task := p.NewTask(runner(func() (time.Time, bool) { return time.Time{}, !end.Load() }))
			task.Start()
			tasks = append(tasks, task)
		}
		p.Close()
		ended := make(chan struct{})
		go func() { goroutines.Wait(); close(ended) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("the shards have ended before their tasks")
		default:
		}
		end.Store(true)
		for _, task := range tasks {
			task.Wake()
		}
		<-ended
	})
}

// Tasks are woken by many goroutines, and none of that is lost.
func TestWakeConcurrently(t *testing.T) {
	var goroutines sync.WaitGroup
	p := New(3, goroutines.Go, slog.New(slog.DiscardHandler))
	const tasks, wakers, rounds = 50, 8, 2000
	var said, heard [tasks]atomic.Int64
	var all sync.WaitGroup
	list := make([]*Task, tasks)
	for i := range list {
		all.Add(1)
		list[i] = p.NewTask(runner(func() (time.Time, bool) {
			heard[i].Store(said[i].Load())
			if heard[i].Load() == wakers*rounds/tasks {
				all.Done()
				return time.Time{}, false
			}
			return time.Time{}, true
		}))
		list[i].Start()
	}
	for w := range wakers {
		go func() {
			for r := range rounds {
				i := (w + r) % tasks
				said[i].Add(1)
				list[i].Wake()
			}
		}()
	}
	all.Wait()
	p.Close()
	goroutines.Wait()
}

// Room for tasks that were woken is kept, as long as it is little.
func TestRoomIsKept(t *testing.T) {
	s := &pool(t, 1).shards[0]
	for room, kept := range map[int]int{0: 0, 1: 1, mostKept: mostKept, mostKept + 1: 0} {
		s.take(make([]*Task, 0, room))
		if got := cap(s.take(nil)); got != kept {
			t.Errorf("of room for %d, %d is kept", room, got)
		}
	}
}
