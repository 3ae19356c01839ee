package conns_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
)

// A bucket allows what a [golang.org/x/time/rate.Limiter] does.
func TestBucket(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := conns.Rate{PerSecond: 1 + random.IntN(50), Burst: 1 + random.IntN(100)}
		limiter := r.Limiter()
		var bucket conns.Bucket
		now := time.Now()
		for range 200 {
			now = now.Add(time.Duration(random.IntN(8)) * time.Second / 32) // no fractions are lost
			n := 1 + random.IntN(5)
			if random.IntN(8) == 0 {
				n = min(n, r.Burst) // what a limiter lets be charged
				limiter.ReserveN(now, n)
				bucket.Charge(r, now, n)
				continue
			}
			// They may differ by what is lost in calculating with fractions.
			spare := limiter.TokensAt(now) - float64(n)
			got := bucket.AllowN(r, now, n)
			if want := limiter.AllowN(now, n); got != want && (spare > 1e-6 || spare < -1e-6) {
				t.Fatalf("seed %d: %+v: %d allowed: %v, want %v with %f to spare", seed, r, n, got, want, spare)
			} else if got != want {
				return
			}
		}
	}
}

// A clock that is set back neither gives nor takes anything.
func TestBucketClockSetBack(t *testing.T) {
	r := conns.Rate{PerSecond: 1, Burst: 1}
	now := time.Now()
	var b conns.Bucket
	if !b.AllowN(r, now, 1) || b.AllowN(r, now.Add(-time.Hour), 1) || b.AllowN(r, now, 1) || !b.AllowN(r, now.Add(time.Second), 1) {
		t.Error("the clock counts")
	}
}
