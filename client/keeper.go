package client

import (
	"context"
	mathrand "math/rand/v2"
	"time"
)

// State is whether events are coming in.
type State string

// The states.
const (
	StateConnecting State = "connecting" // also while waiting for the next attempt
	StateOpen       State = "open"       // the server has said hello
	StateClosed     State = "closed"     // no attempt will be made any more
)

const (
	least   = 500 * time.Millisecond // of a random wait
	longest = 5 * time.Minute        // no server sends a client away for longer
	healthy = 10 * time.Second       // a connection that lasted so long makes up for the troubles before it
	silence = 60 * time.Second       // ends a connection; servers beat every 25 s
)

// loss is how an attempt or a connection ended.
type loss struct {
	err     error
	final   bool          // coming back would not change it
	denied  bool          // new credentials may change it
	wait    time.Duration // until the next attempt, exactly, where the server has said so
	atLeast time.Duration // on top of the random wait, where the server has said so
}

// keeper decides when to come back.
type keeper struct {
	max     time.Duration // of a random wait
	chances int           // attempts that are denied, in a row, before it is final
	retry   time.Duration // the wait the connection gave beforehand, else 0
	tries   int
	denied  int
	opened  time.Time // zero: not yet
}

// dialing begins an attempt.
func (k *keeper) dialing() { k.retry, k.opened = 0, time.Time{} }

// open says that the attempt has become a connection.
func (k *keeper) open() { k.opened = time.Now() }

// lost returns how long to wait before the next attempt, unless there is to be
// none.
func (k *keeper) lost(l loss) (wait time.Duration, again bool) {
	if !k.opened.IsZero() && time.Since(k.opened) >= healthy {
		k.tries, k.denied = 0, 0
	}
	k.tries++
	if l.denied {
		k.denied++
	}
	if l.final || k.denied > k.chances {
		return 0, false
	}
	if wait = l.wait; wait <= 0 {
		wait = l.atLeast + spread(max(bound(k.tries, k.max), min(k.retry, longest)))
	}
	return min(wait, longest), true
}

// bound returns the bound of the wait before attempt n (1, 2, …): it doubles from
// one second to most.
func bound(n int, most time.Duration) time.Duration {
	return min(most, least<<min(n, 20))
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
