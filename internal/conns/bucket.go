package conns

import "time"

// Bucket limits how often something happens on one connection: at a [Rate] that all
// connections have, so that it need not hold it. The zero Bucket is full. Its methods must
// not be called concurrently.
type Bucket struct {
	spent float64   // of the burst, at a time
	at    time.Time // zero: never
}

// AllowN reports whether so much may happen at a time, and counts it if it may.
func (b *Bucket) AllowN(r Rate, now time.Time, n int) bool {
	b.refill(r, now)
	if b.spent+float64(n) > float64(r.Burst) {
		return false
	}
	b.spent += float64(n)
	return true
}

// Charge counts what has happened, though it may be more than is allowed.
func (b *Bucket) Charge(r Rate, now time.Time, n int) {
	b.refill(r, now)
	b.spent += float64(n)
}

func (b *Bucket) refill(r Rate, now time.Time) {
	if elapsed := now.Sub(b.at); elapsed > 0 {
		b.spent = max(0, b.spent-elapsed.Seconds()*float64(r.PerSecond))
		b.at = now
	}
}
