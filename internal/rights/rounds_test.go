package rights_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/log/control"
	"github.com/maravilla-realtime/realtime/internal/rights"
)

// What the other nodes cannot be asked is an error of the call.
func TestEverywhereFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, failure, asked := newNode(t, true), errors.New("no answer"), ""
		n.everywhere = func(_ context.Context, what, userID string) error {
			asked += what + " " + userID + ", "
			return failure
		}
		if err := n.Revoke(t.Context(), "ada"); !errors.Is(err, failure) {
			t.Errorf("Revoke: %v", err)
		}
		if err := n.Recheck(t.Context(), "bob"); !errors.Is(err, failure) {
			t.Errorf("Recheck: %v", err)
		}
		if want := control.Revoke + " ada, " + control.Recheck + " bob, "; asked != want {
			t.Errorf("asked %q, want %q", asked, want)
		}
	})
}

// A check of one connection is a round of its own, which asks about it once, and for which
// Close waits.
func TestRecheckSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, false)
		c, other := n.open("ada"), n.open("ada")
		var within context.Context
		c.check = func(ctx context.Context) {
			within = ctx
			if err := n.Recheck(ctx, "ada"); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Second)
		}
		began := time.Now()
		n.RecheckSoon(t.Context(), &c.Conn)
		synctest.Wait()
		n.Close(t.Context())
		if waited := time.Since(began); waited != 10*time.Second || c.checked != 1 || other.checked != 1 {
			t.Errorf("Close waited for %v, %d and %d checks", waited, c.checked, other.checked)
		}
		if rights.CallOf(within) != nil {
			t.Error("a check that is over is found in its context")
		}
	})
}

// A Recheck waits until a connection has gone that it ends.
func TestRecheckWaitsForTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, began := newNode(t, false), time.Now()
		c := n.open("ada")
		c.check = func(context.Context) { panic("a fault") }
		c.Cancel = func(error) {
			time.AfterFunc(3*time.Second, func() { n.conns.Remove(&c.Conn) })
		}
		if err := n.Recheck(t.Context(), "ada"); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// A call is within a FragmentFunc, or holds the lock of a connection, only where both are true
// of one call.
func TestCallsAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, false)
		ada, bob := n.open("ada"), n.open("bob")
		fragment := &rights.Call{Conn: &bob.Conn, Fragment: true}
		ctx, end := fragment.Begin(t.Context())
		defer end()
		question := &rights.Call{Conn: &ada.Conn}
		ctx, answer := question.Begin(ctx)
		defer answer()
		if err := n.Recheck(ctx, "ada"); err != nil || ada.checked != 1 || ada.ended != nil {
			t.Errorf("%v, %d checks, %v", err, ada.checked, ada.ended)
		}
		call := rights.CallOf(ctx)
		if call.Holding(&ada.Conn) || call.ByPolicy() || !call.ByFragment() {
			t.Errorf("%v, %v, %v", call.Holding(&ada.Conn), call.ByPolicy(), call.ByFragment())
		}
		if none := rights.CallOf(t.Context()); none.Holding(&ada.Conn) || none.ByPolicy() || none.ByFragment() {
			t.Error("no call is taken for one")
		}
	})
}
