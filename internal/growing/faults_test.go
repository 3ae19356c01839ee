package growing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// However a store fails to begin a message, it has begun once, or its caller is told why
// not; and if nobody knew then, it does not stay open.
func TestBeginFaults(t *testing.T) {
	for _, alone := range []bool{true, false} {
		for name, f := range map[string]struct {
			hook func(c *cluster)
			want error
			log  string // in the end
		}{
			"broken":              {func(c *cluster) { c.store.fails(1, "put", errStore, false) }, errStore, ""},
			"perhaps, not stored": {func(c *cluster) { c.store.fails(2, "put", backend.ErrMaybeStored, false) }, nil, "streaming"},
			"perhaps, and stored": {func(c *cluster) { c.store.fails(1, "put", backend.ErrMaybeStored, true) }, nil, "streaming"},
			"perhaps, then broken": {func(c *cluster) {
				n := 0
				c.store.set(func(_ context.Context, call string, do func() error) error {
					switch n++; n {
					case 1:
						_ = do()
						return backend.ErrMaybeStored
					case 2:
						return errStore
					}
					return do()
				})
			}, errStore, map[bool]string{true: "streaming", false: "streaming failed"}[alone]},
			"perhaps, without end": {func(c *cluster) {
				n := 0
				c.store.set(func(_ context.Context, call string, do func() error) error {
					if n++; call == "put" && n < 40 {
						return backend.ErrMaybeStored
					}
					return do()
				})
			}, context.DeadlineExceeded, ""},
		} {
			inCluster(t, fmt.Sprint(name, " ", alone), func(t *testing.T, c *cluster) {
				g, _ := c.start("n", alone, roomy)
				f.hook(c)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				o, err := g.Begin(ctx, growing.Begin{Key: room}, func(error) {})
				wantErr(t, "begin", err, f.want)
				if err != nil && (o != nil || g.Stats().Open != 0 || g.Stats().Opened != 0) {
					t.Errorf("it is open: %+v", g.Stats())
				}
				c.store.set(nil)
				time.Sleep(5 * time.Minute)
				c.wantTold("in the end", "a1", f.log)
				if err != nil && !(alone && f.log != "") {
					c.begin(g, "a1")
				}
			})
		}
	}
}

// A record that appears long after its caller gave up is found, though not for ever.
func TestLateRecord(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 2 * time.Minute, time.Hour} {
		inCluster(t, after.String(), func(t *testing.T, c *cluster) {
			g := c.node("n")
			var late func() error
			n := 0
			c.store.set(func(_ context.Context, call string, do func() error) error {
				n++
				switch {
				case call == "put" && late == nil:
					late = do
					return backend.ErrMaybeStored
				case call == "get" && n == 2:
					return errStore
				}
				return do()
			})
			_, err := g.Begin(t.Context(), growing.Begin{Key: room}, func(error) {})
			wantErr(t, "begin", err, backend.ErrMaybeStored)
			if !errors.Is(err, errStore) {
				t.Error(err)
			}
			time.Sleep(after)
			wantErr(t, "late", late(), nil)
			c.store.count()
			time.Sleep(time.Hour)
			want := "streaming failed"
			if after == time.Hour {
				want = "streaming"
			}
			c.wantTold("in the end", "a1", want)
			if calls := c.store.count(); calls > 5 {
				t.Errorf("%d calls of the store", calls)
			}
		})
	}
}

// If the store fails when a message ends, it is tried again until it has ended once, as it
// was to, and who ends it waits no longer than its context.
func TestEndFaults(t *testing.T) {
	const long = 40
	for _, alone := range []bool{true, false} {
		call := map[bool]string{true: "delete", false: "put"}[alone]
		for name, f := range map[string]struct {
			hook  func(c *cluster)
			loud  bool
			after time.Duration
		}{
			"at once":             {func(*cluster) {}, false, 0},
			"broken":              {func(c *cluster) { c.store.fails(2, call, errStore, false) }, false, time.Minute},
			"broken for long":     {func(c *cluster) { c.store.fails(long, call, errStore, false) }, true, 5 * time.Minute},
			"perhaps, not stored": {func(c *cluster) { c.store.fails(2, call, backend.ErrMaybeStored, false) }, false, time.Minute},
			"perhaps, and stored": {func(c *cluster) { c.store.fails(1, call, backend.ErrMaybeStored, true) }, false, time.Minute},
			"perhaps, then broken": {func(c *cluster) {
				n := 0
				c.store.set(func(_ context.Context, name string, do func() error) error {
					switch n++; {
					case n == 1 && name == call:
						_ = do()
						return backend.ErrMaybeStored
					case n < 5:
						return errStore
					}
					return do()
				})
			}, false, time.Minute},
			"silent": {func(c *cluster) {
				n := 0
				c.store.set(func(ctx context.Context, _ string, do func() error) error {
					if n++; n < 3 {
						<-ctx.Done()
						return ctx.Err()
					}
					return do()
				})
			}, false, time.Minute},
		} {
			inCluster(t, fmt.Sprint(name, " ", alone), func(t *testing.T, c *cluster) {
				g, _ := c.start("n", alone, roomy)
				o := c.begin(g, "a1")
				c.write(o, "text")
				f.hook(c)
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				if err := o.End(ctx, growing.End{State: growing.Complete}); f.after == 0 {
					wantErr(t, "end", err, nil)
				} else if name != "perhaps, and stored" && name != "perhaps, then broken" {
					wantErr(t, "end", err, context.DeadlineExceeded)
				}
				time.Sleep(f.after)
				c.wantTold("in the end", "a1", "streaming complete")
				c.wantText("in the end", o.Text, "text", "complete")
				wantErr(t, "ended again", o.End(t.Context(), growing.End{State: growing.Complete}), nil)
				if got := strings.Count(c.said.buf.String(), "cannot be ended"); got != map[bool]int{true: 1}[f.loud] {
					t.Errorf("%d times it is logged that it cannot be ended", got)
				}
				c.store.set(nil)
				reap(t, g, "n") // of which the node may not know
				time.Sleep(10 * time.Minute)
				for it := range c.store.List(t.Context(), "stream", "") {
					t.Errorf("%v is left", it.Key)
				}
			})
		}
	}
}

// The content is part of the last message, if it is not too large for it.
func TestLargeEnds(t *testing.T) {
	for size, whole := range map[int]bool{10: true, 2000: false} {
		for name, limited := range map[string]bool{"by the limit": true, "by the store": false} {
			inCluster(t, fmt.Sprint(size, " ", name), func(t *testing.T, c *cluster) {
				limits := roomy
				if limited {
					limits.Message = 1000
				}
				g, _ := c.start("n", true, limits)
				c.store.set(func(_ context.Context, call string, do func() error) error { return do() })
				o := c.begin(g, "a1")
				c.write(o, strings.Repeat("x", size))
				if !limited && !whole {
					c.store.fails(1, "delete", backend.ErrTooLarge, false)
				}
				c.end(o, growing.Complete)
				var data struct {
					Text  string
					Limit int
					Bytes int
				}
				last := c.log[len(c.log)-1]
				if err := json.Unmarshal(last.Data, &data); err != nil || data.Bytes != size || (data.Text != "") != whole || (data.Limit != 0) == whole {
					t.Errorf("%v: %.200s", err, last.Data)
				}
			})
		}
	}
}

// A node that ends does not wait for a store that does not answer, and tells those who
// write.
func TestCloseWhileTheStoreIsBroken(t *testing.T) {
	for name, with := range map[string]error{"broken": errStore, "closed": backend.ErrClosed} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			g, stop := c.start("n", false, roomy)
			var cause error
			o, err := g.Begin(t.Context(), growing.Begin{Key: room}, func(why error) { cause = why })
			wantErr(t, "begin", err, nil)
			c.store.fails(-1, "put", with, false)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			began := time.Now()
			if open := g.Close(ctx, growing.End{State: growing.Failed}); open != 1 {
				t.Errorf("%d were open", open)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			wantErr(t, "cause", cause, bounded.ErrClosed)
			wantErr(t, "end", o.End(t.Context(), growing.End{State: growing.Complete}), bounded.ErrClosed)
			_, err = o.Write([]byte("x"))
			wantErr(t, "write", err, bounded.ErrClosed)
			stop()
			synctest.Wait()
		})
	}
}

// A node whose run ends gives up what it could not end.
func TestNodeEndsWhileItEnds(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		g, stop := c.start("n", false, roomy)
		o := c.begin(g, "a1")
		c.store.fails(-1, "put", errStore, false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, "end", o.End(ctx, growing.End{State: growing.Complete}), context.DeadlineExceeded)
		stop()
		wantErr(t, "end", o.End(t.Context(), growing.End{State: growing.Complete}), bounded.ErrClosed)
	})
}

// reap has a node look after the messages of others that are gone, and its own.
func reap(t *testing.T, g *growing.Growing, name string, gone ...string) {
	t.Helper()
	err := g.Reap(t.Context(), func(node string) (bool, error) { return slices.Contains(gone, node), nil }, func(node string) bool { return node == name })
	wantErr(t, "reap", err, nil)
}
