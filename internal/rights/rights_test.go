package rights_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/host/turns"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/control"
	"github.com/maravilla-realtime/realtime/internal/rights"
)

var errClosed = bounded.ErrClosed

// node is a node whose connections do what a test says.
type node struct {
	t     *testing.T
	conns *conns.Conns
	*rights.Rights
	everywhere func(ctx context.Context, what, userID string) error

	mu   sync.Mutex
	left []string // users that have left all channels
}

func newNode(t *testing.T, cluster bool) *node {
	n := &node{t: t, conns: conns.New(conns.Limits{Connections: 10})}
	of := rights.Node{Conns: n.conns, Logger: slog.New(slog.DiscardHandler), Leave: func(_ context.Context, userID string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.left = append(n.left, userID)
	}}
	if cluster {
		of.Everywhere = func(ctx context.Context, what, userID string) error { return n.everywhere(ctx, what, userID) }
	}
	n.Rights = rights.New(of)
	return n
}

// conn is a connection that counts its checks.
type conn struct {
	conns.Conn
	ended   error
	checked int
	check   func(context.Context) // nil: the policy allows all
}

// open opens a connection of a user, which goes as soon as it is told to.
func (n *node) open(user string) *conn {
	n.t.Helper()
	c := new(conn)
	var once sync.Once
	c.Cancel = func(why error) {
		once.Do(func() {
			c.ended = why
			go n.conns.Remove(&c.Conn)
		})
	}
	c.Recheck = func(ctx context.Context, _ *turns.Turns) {
		if c.checked++; c.check != nil {
			c.check(ctx)
		}
	}
	h := n.conns.Begin()
	defer h.End()
	if err := h.Add(&c.Conn, user); err != nil {
		n.t.Fatal(err)
	}
	return c
}

func TestRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, false)
		first, second, other := n.open("ada"), n.open("ada"), n.open("bob")
		if err := n.Revoke(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*conn{first, second} {
			select {
			case <-c.Done():
			default:
				t.Error("Revoke has not waited")
			}
			if c.ended != conns.Revoked {
				t.Errorf("ended: %v", c.ended)
			}
		}
		if other.ended != nil || !slices.Equal(n.left, []string{"ada"}) {
			t.Errorf("bob: %v, left: %v", other.ended, n.left)
		}
	})
}

// A Revoke does not wait for a connection without end.
func TestRevokeWaitsFor30s(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, began := newNode(t, false), time.Now()
		c := n.open("ada")
		c.Cancel = func(error) {} // it does not go
		if err := n.Revoke(t.Context(), "ada"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 30*time.Second || n.left != nil {
			t.Errorf("%v after %v, left: %v", err, time.Since(began), n.left)
		}
	})
}

// A Revoke by the policy does not wait for who waits for the policy: what is being
// authenticated is spared, and the connection that asks ends when it has got its answer.
func TestRevokeWithinThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, false)
		renews, asks, other := n.open("ada"), n.open("ada"), n.open("ada")
		h := n.conns.Begin()
		defer h.End()
		renewal := &rights.Call{Handshake: h, Conn: &renews.Conn}
		ctx, end := renewal.Begin(t.Context())
		question := &rights.Call{Conn: &asks.Conn, Holds: true}
		ctx, answer := question.Begin(ctx)
		if !rights.CallOf(ctx).Holding(&asks.Conn) || rights.CallOf(ctx).Holding(&other.Conn) {
			t.Error("Holding")
		}
		if err := n.Revoke(ctx, "ada"); err != nil {
			t.Fatal(err)
		}
		if other.ended != conns.Revoked || asks.ended != conns.Revoked || renews.ended != nil || !renewal.Spared() || question.Spared() {
			t.Errorf("%v, %v, %v, spared: %v, %v", other.ended, asks.ended, renews.ended, renewal.Spared(), question.Spared())
		}
		if err := h.Identify(&renews.Conn, "ada"); err != nil {
			t.Errorf("the handshake that the policy decides about fails: %v", err)
		}
		answer()
		end()
		if rights.CallOf(ctx) != nil {
			t.Error("a call that is over is found in its context")
		}
		if err := n.Revoke(ctx, "ada"); err != nil || renews.ended != conns.Revoked {
			t.Errorf("%v, %v", err, renews.ended)
		}
	})
}

func TestRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, false)
		first, second, other := n.open("ada"), n.open("ada"), n.open("bob")
		first.check = func(ctx context.Context) {
			if rights.CallOf(ctx).ByPolicy() || rights.CallOf(ctx).ByFragment() {
				t.Error("nobody's function makes this Recheck")
			}
		}
		second.check = func(context.Context) { panic("a fault") }
		if err := n.Recheck(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		if first.checked != 1 || second.checked != 1 || other.checked != 0 || first.ended != nil {
			t.Errorf("%d, %d, %d checks, %v", first.checked, second.checked, other.checked, first.ended)
		}
		var how *conns.Ending
		if !errors.As(second.ended, &how) || how.Code != 1011 {
			t.Errorf("a connection whose check panics: %v", second.ended)
		}
	})
}

// A Recheck by the policy that a Recheck asks ends: each connection is asked about once.
func TestRecheckWithinRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, true)
		asked := 0
		n.everywhere = func(ctx context.Context, what, userID string) error {
			if asked++; what != control.Recheck {
				t.Errorf("asked for %q", what)
			}
			return n.RecheckHere(ctx, userID)
		}
		first, second := n.open("ada"), n.open("ada")
		again := func(c *conn) func(context.Context) {
			return func(ctx context.Context) {
				call := &rights.Call{Conn: &c.Conn}
				ctx, end := call.Begin(ctx)
				defer end()
				if err := n.Recheck(ctx, "ada"); err != nil {
					t.Error(err)
				}
			}
		}
		first.check, second.check = again(first), again(second)
		if err := n.Recheck(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		if first.checked != 1 || second.checked != 1 || asked != 1 {
			t.Errorf("%d and %d checks, all nodes were asked %d times", first.checked, second.checked, asked)
		}
	})
}

// A Recheck by a FragmentFunc does not wait for its own stream, which comes back.
func TestRecheckWithinFragment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, false)
		renders, other := n.open("ada"), n.open("ada")
		other.check = func(ctx context.Context) {
			if !rights.CallOf(ctx).ByFragment() || !rights.CallOf(ctx).ByPolicy() {
				t.Error("a FragmentFunc makes this Recheck")
			}
		}
		call := &rights.Call{Conn: &renders.Conn, Fragment: true}
		ctx, end := call.Begin(t.Context())
		defer end()
		if err := n.Recheck(ctx, "ada"); err != nil {
			t.Fatal(err)
		}
		if renders.checked != 0 || renders.ended != conns.Rotated || other.checked != 1 || other.ended != nil {
			t.Errorf("%d checks, %v; %d checks, %v", renders.checked, renders.ended, other.checked, other.ended)
		}
	})
}

// If ctx ends, the check goes on, and Close waits for it; after that there are none.
func TestRecheckOutlivesItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, false)
		c := n.open("ada")
		c.check = func(ctx context.Context) {
			if time.Sleep(10 * time.Second); ctx.Err() != nil {
				t.Error("the check is given up")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.Recheck(ctx, "ada"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		began := time.Now()
		n.Close(t.Context())
		if waited := time.Since(began); waited != 9*time.Second {
			t.Errorf("Close waited for %v", waited)
		}
		if err := n.Recheck(t.Context(), "ada"); !errors.Is(err, errClosed) {
			t.Error(err)
		}
		n.RecheckSoon(t.Context(), &c.Conn)
		synctest.Wait()
		if c.checked != 1 {
			t.Errorf("%d checks", c.checked)
		}
	})
}
