package client

import (
	"context"
	"math"
	mathrand "math/rand/v2"
	"time"
)

// State is whether events are coming in.
type State string

// The states.
const (
	StateConnecting State = "connecting" // also while waiting for the next attempt
	StateOpen       State = "open"       // the server has said hello
	StateClosed     State = "closed"     // no other attempt will be made
)

// The rule of testdata/backoff.json.
const (
	least       = 500 * time.Millisecond // of a random wait
	firstBound  = time.Second            // of the random wait after the first attempt that fails
	growth      = 1.5                    // of the bound, with each attempt
	longest     = 5 * time.Minute        // no server sends a client away for longer
	maxBackoff  = 15 * time.Second       // of the bound, unless the options say otherwise
	healthy     = 2 * time.Second        // a connection that lasts so long makes up for the troubles before it
	credentials = 30 * time.Second       // how long denials go on before they are final: a token may be renewed late
)

const silence = 60 * time.Second // ends a connection; servers beat every 25 s

// disconnect is how an attempt or a connection ended.
type disconnect struct {
	err     error
	final   bool          // coming back would not change it
	denied  bool          // new credentials may change it
	bye     bool          // the server has said goodbye,
	wait    time.Duration // and for how long, 0 where it leaves that to the client
	atLeast time.Duration // on top of the random wait, where the server has said so
}

// reconnector decides when to come back.
type reconnector struct {
	max    time.Duration // of a random wait
	retry  time.Duration // the least wait, as the stream has said beforehand, else 0
	tries  int           // that failed in a row
	denied time.Time     // the first denial in a row; zero: none
	opened time.Time     // zero: not yet
}

// dialing begins an attempt.
func (k *reconnector) dialing() { k.retry, k.opened = 0, time.Time{} }

// open says that the attempt has become a connection.
func (k *reconnector) open() { k.opened, k.denied = time.Now(), time.Time{} }

// forgive forgets the attempts that failed, where the connection has lasted long
// enough for that.
func (k *reconnector) forgive() bool {
	proven := !k.opened.IsZero() && time.Since(k.opened) >= healthy
	if proven {
		k.tries = 0
	}
	return proven
}

// lost returns how long to wait before the next attempt, unless there is to be
// none.
func (k *reconnector) lost(l disconnect) (wait time.Duration, again bool) {
	proven := k.forgive()
	k.tries++
	if l.denied && k.denied.IsZero() {
		k.denied = time.Now()
	}
	left := credentials - time.Since(k.denied) // only where there was a denial
	if l.final || l.denied && left <= 0 {
		return 0, false
	}
	wait = spread(bound(k.tries, k.max))
	switch {
	case k.denied.IsZero():
	case left > 0:
		wait = min(wait, left) // so that one attempt comes when the time is over
	default:
		k.denied = time.Time{} // the server could not be asked meanwhile: there was no such time
	}
	switch {
	case l.bye && l.wait > 0 && proven:
		wait = l.wait
	case l.bye:
		wait = max(wait, l.wait)
	default:
		wait = max(wait, k.retry)
	}
	return min(wait+min(l.atLeast, longest), longest), true
}

// bound returns the bound of the wait after n attempts that failed: 1, 2, …
func bound(n int, most time.Duration) time.Duration {
	b := float64(firstBound) * math.Pow(growth, float64(n-1))
	return time.Duration(min(b, float64(most)))
}

// spread returns a wait anywhere between half a second and bound, so that clients
// that were cut together come back apart.
func spread(bound time.Duration) time.Duration {
	low := min(least, bound)
	return low + mathrand.N(bound-low+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
