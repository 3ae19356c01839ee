// Package pace scales the time limits of tests that wait in real time, so that a slow
// or busy machine gets more time. Tests in virtual time do not need it.
package pace

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// rounds is the amount of work by which the pace is measured, usual the time it
	// takes on the idle cores of a laptop.
	rounds = 10_000_000
	usual  = 15 * time.Millisecond

	// fresh is how long a measurement counts.
	fresh = 2 * time.Second

	// look is how often WithTimeout measures the pace again.
	look = 2 * fresh

	// most is the greatest factor: to wait even longer is useless.
	most = 50
)

var last struct {
	sync.Mutex
	factor float64
	at     time.Time
}

// Factor returns how many times slower than an idle laptop the machine is at
// present, from 1 to 50. It measures for some hundredths of a second, at most every
// 2 s. It may be called concurrently.
func Factor() float64 {
	last.Lock()
	defer last.Unlock()
	if last.at.IsZero() || time.Since(last.at) > fresh {
		last.factor = min(max(1, float64(measure())/float64(usual)), most)
		last.at = time.Now()
	}
	return last.factor
}

// measure keeps all cores busy, as browsers and servers do, and returns how long
// that took. Tests replace it.
var measure = func() time.Duration {
	began := time.Now()
	var cores sync.WaitGroup
	for n := range runtime.GOMAXPROCS(0) {
		cores.Go(func() { worked.Store(work(uint64(n))) })
	}
	cores.Wait()
	return time.Since(began)
}

// worked is the result of the work, so that the compiler cannot remove the work.
var worked atomic.Uint64

func work(x uint64) uint64 {
	for range rounds {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

// Slow returns how long something that usually takes d may take at present.
func Slow(d time.Duration) time.Duration {
	return time.Duration(float64(d) * Factor())
}

// Poll calls ask at the given interval until it returns true, or limit has passed at
// the machine's pace, and returns the last answer.
func Poll(limit, every time.Duration, ask func() bool) bool {
	for rest := limit; rest > 0; {
		began := time.Now()
		if ask() {
			return true
		}
		time.Sleep(every)
		rest -= paced(time.Since(began))
	}
	return ask()
}

// paced returns how much of a limit is used up by d.
func paced(d time.Duration) time.Duration {
	return time.Duration(float64(d) / Factor())
}

// WithTimeout returns a context that ends with its parent, or when limit has passed
// at the machine's pace. Its cancel function must be called.
func WithTimeout(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watch{rest: limit, expire: func() { cancel(context.DeadlineExceeded) }}
	w.arm()
	return ctx, func() {
		w.stop()
		cancel(context.Canceled)
	}
}

// watch calls expire when rest has passed at the machine's pace.
type watch struct {
	expire func()

	mu      sync.Mutex
	rest    time.Duration
	timer   *time.Timer
	stopped bool
}

// arm starts the timer for the next look, when the pace may have changed.
func (w *watch) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	began := time.Now()
	w.timer = time.AfterFunc(min(w.rest, look), func() {
		if w.spend(time.Since(began)) {
			w.expire()
			return
		}
		w.arm()
	})
}

// spend subtracts d, and reports whether nothing is left.
func (w *watch) spend(d time.Duration) bool {
	spent := paced(d)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest -= spent
	return w.rest <= 0
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}
