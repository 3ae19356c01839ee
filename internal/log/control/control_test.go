package control

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

var (
	errDown   = errors.New("the log is down")
	errClosed = bounded.ErrClosed
)

// cluster is a log of control records, and the nodes that follow it.
type cluster struct {
	t   *testing.T
	all []*node

	mu    sync.Mutex
	names []string // of the nodes that are alive
	fail  error    // of Append
	err   error    // of Nodes
	work  sync.WaitGroup
}

type node struct {
	*Control
	do func(context.Context) error

	mu   sync.Mutex
	did  []string     // of requests: what, user, and whether the node was obliged
	logs bytes.Buffer // read it after the work
	stop context.CancelFunc
}

func nodes(t *testing.T, names ...string) *cluster {
	c := &cluster{t: t, names: names}
	for _, name := range names {
		n := &node{do: func(context.Context) error { return nil }}
		running, stop := context.WithCancel(t.Context())
		n.stop = stop
		do := func(what string) func(context.Context, string) error {
			return func(ctx context.Context, user string) error {
				n.note(what + " " + user)
				if Obliged(ctx) {
					n.note("obliged")
				}
				return n.do(ctx)
			}
		}
		n.Control = New(Node{
			Name: func() string { return name }, Append: c.append,
			Nodes:  func(context.Context) ([]string, error) { return c.alive(), c.err },
			Do:     map[string]func(context.Context, string) error{Revoke: do(Revoke), Recheck: do(Recheck)},
			Logger: slog.New(slog.NewTextHandler(&n.logs, nil)), Running: running, Go: c.work.Go,
		})
		c.all = append(c.all, n)
	}
	return c
}

func (c *cluster) alive() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.names)
}

// append gives a record to all nodes, the one that appended it included.
func (c *cluster) append(_ context.Context, e backend.Entry) error {
	if c.fail != nil {
		return c.fail
	}
	p, err := backend.DecodePayload(e.Data)
	if err != nil {
		c.t.Error(err)
	}
	for _, n := range c.all {
		n.Handle(p.Event)
	}
	return nil
}

func (n *node) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.did = append(n.did, what)
}

func (n *node) told(want ...string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Equal(n.did, want)
}

// A change is made on each node once, and the call returns when all have confirmed it.
func TestEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b", "c")
		c.all[1].do = func(context.Context) error { time.Sleep(2 * time.Second); return nil }
		began := time.Now()
		if err := c.all[0].Everywhere(t.Context(), Revoke, "ada"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if !c.all[0].told("$revoke ada") || !c.all[1].told("$revoke ada", "obliged") || !c.all[2].told("$revoke ada", "obliged") {
			t.Errorf("%q, %q, %q", c.all[0].did, c.all[1].did, c.all[2].did)
		}
		if n := len(c.all[0].asked); n != 0 {
			t.Errorf("%d requests are kept", n)
		}
	})
}

// The error names the nodes that have not confirmed; those that have ended are not asked.
func TestNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b", "c")
		c.all[1].do = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		err := c.all[0].Everywhere(t.Context(), Recheck, "ada")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `["b"]`) || time.Since(began) != askTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := c.all[0].Everywhere(short, Recheck, "ada"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		time.AfterFunc(time.Second, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.names = []string{"a", "c"}
		})
		if err := c.all[0].Everywhere(t.Context(), Recheck, "ada"); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("with a node that ends: %v after %v", err, time.Since(began))
		}
		c.work.Wait()
		if logs := c.all[1].logs.String(); strings.Count(logs, "is not confirmed") != 3 {
			t.Error(logs)
		}
	})
}

// A change is made here even if the others cannot be told, or are not known.
func TestLogIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b")
		c.fail = errDown
		err := c.all[0].Everywhere(t.Context(), Revoke, "ada")
		if !errors.Is(err, errDown) || !c.all[0].told("$revoke ada") || len(c.all[1].did) > 0 {
			t.Errorf("%v; %q, %q", err, c.all[0].did, c.all[1].did)
		}
		failed := errors.New("it failed here")
		c.fail, c.err = nil, errDown
		c.all[0].do = func(context.Context) error { return failed }
		began := time.Now()
		err = c.all[0].Everywhere(t.Context(), Revoke, "ada")
		if !errors.Is(err, errDown) || !errors.Is(err, failed) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// A node that ends, or whose log was closed, does not complain; any other does.
func TestObliged(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		stop bool
		want int
	}{
		"done": {}, "failed": {err: errDown, want: 1}, "closed": {err: errClosed}, "ended": {err: errDown, stop: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := nodes(t, "a", "b")
				b := cl.all[1]
				b.do = func(context.Context) error {
					if c.stop {
						b.stop()
					}
					return c.err
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := cl.all[0].Everywhere(ctx, Revoke, "ada"); (err == nil) != (c.err == nil) {
					t.Error(err)
				}
				cl.work.Wait()
				if got := strings.Count(b.logs.String(), "is not confirmed"); got != c.want {
					t.Error(&b.logs)
				}
			})
		})
	}
}

// Only so many requests of other nodes are carried out at once, and a request of a newer
// version is left alone.
func TestTooManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b")
		b := c.all[1]
		var running atomic.Int64
		end := make(chan struct{})
		b.node.Do[Revoke] = func(context.Context, string) error {
			running.Add(1)
			<-end
			return nil
		}
		for range doAtOnce + 3 {
			b.Handle(backend.Event{Type: Revoke, Source: "a", User: "ada", Key: "k"})
		}
		b.Handle(backend.Event{Type: "$newer", Source: "a"})
		synctest.Wait()
		if n := running.Load(); n != doAtOnce {
			t.Errorf("%d at once", n)
		}
		close(end)
		c.work.Wait()
		if n := strings.Count(b.logs.String(), "too many changes"); n != 3 {
			t.Error(&b.logs)
		}
		for range doAtOnce + 3 { // one after the other
			b.Handle(backend.Event{Type: Revoke, Source: "a", User: "ada", Key: "k"})
			c.work.Wait()
		}
		if n := running.Load(); n != 2*doAtOnce+3 {
			t.Errorf("%d were carried out", n)
		}
	})
}

// A node that ends, or that does not know within its time who is alive, has confirmed
// nothing.
func TestEndsUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nodes(t, "a", "b")
		c.all[1].do = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		time.AfterFunc(time.Second, c.all[0].stop)
		began := time.Now()
		err := c.all[0].Everywhere(t.Context(), Recheck, "ada")
		if !errors.Is(err, errClosed) || !strings.Contains(err.Error(), `["b"]`) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		c.work.Wait()
		if logs := c.all[1].logs.String(); !strings.Contains(logs, "a change of rights by another node") {
			t.Error(logs)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		c.err, c.all[1].do = errDown, func(context.Context) error { return nil }
		if err := c.all[1].Everywhere(ended, Recheck, "ada"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
