// Package jitter returns the random part of waits, so that nodes that wait for the
// same thing do not act at the same moment.
package jitter

import (
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"
)

var source atomic.Pointer[func(time.Duration) time.Duration]

// N returns a random duration in [0, d). d must be greater than 0.
func N(d time.Duration) time.Duration {
	if f := source.Load(); f != nil {
		return (*f)(d)
	}
	return mathrand.N(d)
}

// Replace makes N return f(d) until restore is called, for tests that must be
// repeatable.
func Replace(f func(d time.Duration) time.Duration) (restore func()) {
	old := source.Swap(&f)
	return func() { source.Store(old) }
}

// Half returns a random duration between half of d and d.
func Half(d time.Duration) time.Duration { return d/2 + N(d/2+1) }
