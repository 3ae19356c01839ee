package growing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
)

// A node fails the messages of a dead node, with what it knows of their content, and those
// recorded for itself that it does not write. Others it leaves.
func TestReap(t *testing.T) {
	for name, f := range map[string]struct {
		before func(c *cluster, w, r *growing.Growing)
		log    string
		shows  string // of a text that r follows
	}{
		"dead": {func(c *cluster, w, _ *growing.Growing) { c.begin(w, "a1") }, "streaming failed", ""},
		"dead, and followed": {func(c *cluster, w, r *growing.Growing) {
			c.write(c.begin(w, "a1"), "text")
			c.follow(r, "a1")
		}, "streaming failed", "text failed unavailable"},
		"dead, and too large for the log": {func(c *cluster, w, r *growing.Growing) {
			c.write(c.begin(w, "a1"), "text")
			c.follow(r, "a1")
			c.store.fails(1, "put", backend.ErrTooLarge, false)
		}, "streaming failed", "text failed unavailable"},
		"dead, and another one did it": {func(c *cluster, w, _ *growing.Growing) {
			c.begin(w, "a1")
			c.store.fails(1, "put", backend.ErrConflict, false)
		}, "streaming", ""},
		"another one with the id is known": {func(c *cluster, w, r *growing.Growing) {
			o := c.begin(w, "a1")
			c.write(o, "old")
			c.follow(r, "a1")
			c.deafen("r")
			c.separate("r", true)
			c.end(o, growing.Complete)
			c.begin(w, "a1")
		}, "streaming complete streaming failed", ""},
		"alive":   {func(c *cluster, _, _ *growing.Growing) { c.begin(c.node("x"), "a1") }, "streaming", ""},
		"its own": {func(c *cluster, _, r *growing.Growing) { c.begin(r, "a1") }, "streaming", ""},
		"ended":   {func(c *cluster, w, _ *growing.Growing) { c.end(c.begin(w, "a1"), growing.Complete) }, "streaming complete", ""},
		"its own, of an earlier life": {func(c *cluster, _, _ *growing.Growing) {
			r2, _ := c.start("r", false, roomy)
			c.begin(r2, "a1")
		}, "streaming failed", ""},
		"its own, of an earlier life, followed": {func(c *cluster, _, r *growing.Growing) {
			r2, _ := c.start("x", false, roomy)
			o := c.begin(r2, "a1")
			c.follow(r, "a1")
			it, _ := c.store.Get(c.t.Context(), backend.Key{Kind: "stream", Group: "room", Name: "a1"})
			overwrite(c.t, c.store, "a1", []byte(strings.Replace(string(it.Value), "\x01x", "\x01r", 1)))
			_ = o
		}, "streaming failed", ""},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			f.before(c, w, r)
			reap(t, r, "r", "w")
			c.wantTold("reaped", "a1", f.log)
			last := ""
			if len(c.log) > 0 {
				last = string(c.log[len(c.log)-1].Data)
			}
			if f.shows != "" {
				content, end, _ := strings.Cut(f.shows, " ")
				c.wantText("reaped", c.follow(r, "a1"), content, end)
				if logged := strings.Contains(last, content); logged == strings.Contains(name, "too large") {
					t.Errorf("the log has %s", last)
				}
			} else if strings.Contains(last, "old") {
				t.Errorf("the log has what is another one's: %s", last)
			}
			c.store.set(nil)
			reap(t, r, "r", "w")
			time.Sleep(10 * time.Minute) // records of what has ended go
			for it := range c.store.List(t.Context(), "stream", "") {
				if !strings.HasSuffix(f.log, "streaming") {
					t.Errorf("%v is left", it.Key)
				}
			}
		})
	}
}

// Records of what has ended go with the node that would have deleted them.
func TestReapOfEnded(t *testing.T) {
	for name, mine := range map[string]string{"of a dead node": "r", "of an earlier life": "w"} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, stop := c.start("w", false, roomy)
			c.end(c.begin(w, "a1"), growing.Complete)
			stop()
			r := c.node(mine)
			time.Sleep(time.Hour)
			reap(t, r, mine, "w")
			if calls := c.store.count(); calls == 0 {
				t.Error("nothing was done")
			}
			c.wantTold("reaped", "a1", "streaming complete")
			time.Sleep(10 * time.Minute)
			for it := range c.store.List(t.Context(), "stream", "") {
				t.Errorf("%v is left", it.Key)
			}
		})
	}
}

// What fails while the messages of others are looked at is told, and the next look goes on.
func TestReapFaults(t *testing.T) {
	for name, f := range map[string]struct {
		before func(c *cluster)
		gone   error
		want   error
	}{
		"nobody knows who is gone": {func(*cluster) {}, errStore, errStore},
		"the store is broken":      {func(c *cluster) { c.store.fails(1, "put", errStore, false) }, nil, errStore},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			c.begin(w, "a1")
			f.before(c)
			gone := func(string) (bool, error) { return true, f.gone }
			mine := func(node string) bool { return node == "r" }
			wantErr(t, "reap", r.Reap(t.Context(), gone, mine), f.want)
			c.wantTold("reaped", "a1", "streaming")
			f.gone = nil
			c.store.set(nil)
			wantErr(t, "reap", r.Reap(t.Context(), gone, mine), nil)
			c.wantTold("reaped", "a1", "streaming failed")
		})
	}
	inCluster(t, "the store does not list", func(t *testing.T, c *cluster) {
		r := c.node("r")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Reap(ctx, func(string) (bool, error) { return false, nil }, func(string) bool { return false }); err == nil {
			t.Error("nothing is told")
		}
	})
}

// A record of a message that has ended goes when its time has come: not earlier, also if
// its end is heard of twice, and not never, where the store has another one by then.
func TestRecordsGo(t *testing.T) {
	for name, f := range map[string]struct {
		do    func(c *cluster, w *growing.Growing)
		calls int
	}{
		"as they should":       {func(*cluster, *growing.Growing) {}, 3},
		"reaped twice":         {func(c *cluster, w *growing.Growing) { reap(c.t, w, "w"); reap(c.t, w, "w") }, 3},
		"one is another one":   {func(c *cluster, _ *growing.Growing) { overwrite(c.t, c.store, "0", []byte{2}) }, 3},
		"one is gone":          {func(c *cluster, _ *growing.Growing) { overwrite(c.t, c.store, "0", nil) }, 3},
		"the store was closed": {func(c *cluster, _ *growing.Growing) { c.store.fails(1, "delete", backend.ErrClosed, false) }, 3},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w := c.node("w")
			for i := range 3 {
				c.end(c.begin(w, fmt.Sprint(i)), growing.Complete)
			}
			f.do(c, w)
			c.store.count()
			time.Sleep(2*time.Minute + 50*time.Second)
			if calls := c.store.count(); calls != 0 {
				t.Errorf("%d are deleted early", calls)
			}
			time.Sleep(time.Hour)
			if calls := c.store.count(); calls != f.calls {
				t.Errorf("%d calls, want %d", calls, f.calls)
			}
			left := 0
			for range c.store.List(t.Context(), "stream", "") {
				left++
			}
			if left > 1 || left == 1 && name != "one is another one" && name != "the store was closed" {
				t.Errorf("%d are left", left)
			}
		})
	}
}

// A node that others took for dead has lost its messages, whether or not it hears that
// from the log.
func TestTakenForDead(t *testing.T) {
	for name, f := range map[string]struct {
		do     func(c *cluster, w *growing.Growing, o *growing.Own)
		within time.Duration
		end    string
	}{
		"told by the log": {func(*cluster, *growing.Growing, *growing.Own) {}, 0, "failed unavailable"},
		"when it ends": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			err := o.End(c.t.Context(), growing.End{State: growing.Complete})
			if !errors.Is(err, growing.ErrEnded) || !strings.Contains(err.Error(), "failed") {
				c.t.Errorf("it has ended as %v", err)
			}
		}, 30 * time.Second, "failed unavailable"},
		"when it stops":                   {func(_ *cluster, _ *growing.Growing, o *growing.Own) { o.Stop() }, 30 * time.Second, "failed unavailable"},
		"when the log has lost something": {func(_ *cluster, w *growing.Growing, _ *growing.Own) { w.Lost(false) }, 40 * time.Second, "failed unavailable"},
		"when the store was put back":     {func(_ *cluster, w *growing.Growing, _ *growing.Own) { w.Lost(true) }, 40 * time.Second, "failed unavailable"},
		"when another one has the id": {func(c *cluster, w *growing.Growing, _ *growing.Own) {
			c.begin(c.nodes["r"], "a1")
			w.Lost(false)
		}, 40 * time.Second, "failed unavailable"},
		"when another one has the id, and it ends": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			c.begin(c.nodes["r"], "a1")
			o.Stop()
		}, 40 * time.Second, "failed unavailable"},
		"when the record cannot be read, and it ends": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			overwrite(c.t, c.store, "a1", []byte{2})
			o.Stop()
		}, 40 * time.Second, "failed unavailable"},
		"when the record is gone, and it ends": {func(c *cluster, _ *growing.Growing, o *growing.Own) {
			overwrite(c.t, c.store, "a1", nil)
			o.Stop()
		}, 40 * time.Second, "failed unavailable"},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w, r := c.node("w"), c.node("r")
			o := c.begin(w, "a1")
			c.write(o, "text")
			deaf := name != "told by the log"
			if deaf {
				c.deafen("w")
			}
			reap(t, r, "r", "w")
			f.do(c, w, o)
			time.Sleep(f.within)
			content := "text"
			if !deaf {
				content = "" // as in the log
			}
			c.wantText("in the end", o.Text, content, f.end)
			_, err := o.Write([]byte("x"))
			if err == nil {
				t.Error("it can be written")
			}
			if s := w.Stats(); s.Open != 0 || s.Ended["failed"] != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// If the log has lost an end that this node has perhaps made itself, it counts as made.
func TestPerhapsEnded(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w := c.node("w")
		o := c.begin(w, "a1")
		c.deafen("w")
		c.store.fails(1, "put", backend.ErrMaybeStored, true)
		began := time.Now()
		c.end(o, growing.Complete)
		if took := time.Since(began); took < 15*time.Second || took > 30*time.Second {
			t.Errorf("it took %v", took)
		}
		c.wantText("ended", o.Text, "", "complete")
	})
}

// If the store was put back, open messages go on: their records are put back too, unless
// others are there.
func TestStoreWasPutBack(t *testing.T) {
	for name, f := range map[string]struct {
		do   func(c *cluster)
		open bool
	}{
		"without the record":               {func(c *cluster) { overwrite(c.t, c.store, "a1", nil) }, true},
		"with the record":                  {func(*cluster) {}, true},
		"without, and the store is broken": {func(c *cluster) { overwrite(c.t, c.store, "a1", nil); c.store.fails(20, "put", errStore, false) }, true},
		"without, and the store is silent once": {func(c *cluster) {
			overwrite(c.t, c.store, "a1", nil)
			n := 0
			c.store.set(func(ctx context.Context, _ string, do func() error) error {
				if n++; n == 1 {
					<-ctx.Done()
					return ctx.Err()
				}
				return do()
			})
		}, true},
		"another one is open": {func(c *cluster) { overwrite(c.t, c.store, "a1", nil); c.begin(c.node("x"), "a1") }, false},
		"another one has ended": {func(c *cluster) {
			overwrite(c.t, c.store, "a1", nil)
			c.end(c.begin(c.node("x"), "a1"), growing.Complete)
		}, false},
	} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			w := c.node("w")
			o := c.begin(w, "a1")
			c.write(o, "text")
			f.do(c)
			w.Lost(true)
			time.Sleep(time.Minute)
			if _, err := o.Write([]byte("x")); (err == nil) != f.open {
				t.Errorf("write: %v", err)
			}
			if !f.open {
				c.wantText("lost", o.Text, "text", "failed unavailable")
				return
			}
			text, err := c.node("r").Follow(t.Context(), room)
			wantErr(t, "follow", err, nil)
			c.wantText("found", text, "textx", "grows")
			c.end(o, growing.Complete)
			if told := c.told("a1"); !strings.HasSuffix(told, "streaming complete") {
				t.Errorf("the log tells %s", told)
			}
		})
	}
	for name, end := range map[string]bool{"at once": true, "later": false} {
		inCluster(t, "without the record, and it ends "+name, func(t *testing.T, c *cluster) {
			w := c.node("w")
			o := c.begin(w, "a1")
			overwrite(t, c.store, "a1", nil)
			c.store.fails(8, "put", errStore, false)
			w.Lost(true)
			if !end {
				time.Sleep(500 * time.Millisecond)
			}
			c.end(o, growing.Complete)
			if told := c.told("a1"); !strings.HasSuffix(told, "streaming complete") {
				t.Errorf("the log tells %s", told)
			}
		})
	}
}

// While the store is broken, a node does not ask it about each message again and again.
func TestUnheardWhileBroken(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w, r := c.node("w"), c.node("r")
		for i := range 5 {
			c.begin(w, fmt.Sprint(i))
			c.follow(r, fmt.Sprint(i))
		}
		c.separate("r", true)
		time.Sleep(25 * time.Second)
		c.store.fails(-1, "get", errStore, false)
		time.Sleep(20 * time.Second)
		c.store.count()
		time.Sleep(10 * time.Second)
		if calls := c.store.count(); calls < 5 || calls > 11 {
			t.Errorf("%d calls in ten seconds", calls)
		}
	})
}

// Who gave up beginning a message, and does not know whether it has begun, does not end
// another one's.
func TestDoubtAboutAnother(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		w, x := c.node("w"), c.node("x")
		n := 0
		c.store.set(func(_ context.Context, _ string, do func() error) error {
			switch n++; n {
			case 1:
				return backend.ErrMaybeStored
			case 2:
				return errStore
			}
			return do()
		})
		_, err := w.Begin(t.Context(), growing.Begin{Key: room}, func(error) {})
		wantErr(t, "begin", err, backend.ErrMaybeStored)
		o := c.begin(x, "a1")
		time.Sleep(10 * time.Minute)
		c.write(o, "x")
		c.wantTold("in the end", "a1", "streaming")
	})
}

// Who stops a message stops its writer at once, whatever the store does.
func TestStopsAtOnce(t *testing.T) {
	inCluster(t, "", func(t *testing.T, c *cluster) {
		g := c.node("n")
		var cause error
		o, err := g.Begin(t.Context(), growing.Begin{Key: room}, func(why error) { cause = why })
		wantErr(t, "begin", err, nil)
		c.store.fails(20, "put", errStore, false)
		o.Stop()
		wantErr(t, "cause", cause, growing.ErrStopped)
		_, err = o.Write([]byte("x"))
		wantErr(t, "write", err, growing.ErrStopped)
		wantErr(t, "end", o.End(t.Context(), growing.End{State: growing.Complete}), growing.ErrStopped)
		c.wantTold("in the end", "a1", "streaming cancelled")
	})
}

// A node that is alone, or has nothing, has nothing to ask after a loss.
func TestLostNothing(t *testing.T) {
	for _, alone := range []bool{true, false} {
		inCluster(t, fmt.Sprint(alone), func(t *testing.T, c *cluster) {
			g, _ := c.start("n", alone, roomy)
			c.end(c.begin(g, "a1"), growing.Complete)
			c.store.count()
			g.Lost(false)
			g.Lost(true)
			time.Sleep(time.Minute)
			if calls := c.store.count(); calls != 0 {
				t.Errorf("%d calls of the store", calls)
			}
			open := c.begin(g, "a2")
			c.store.count()
			g.Lost(false)
			if calls := c.store.count(); alone && calls != 0 || !alone && calls != 1 {
				t.Errorf("%d calls of the store", calls)
			}
			c.write(open, "x")
		})
	}
}

// While the store is broken, a node that looks for its messages goes on until it knows, or
// ends.
func TestVerifyWhileBroken(t *testing.T) {
	for name, silent := range map[string]bool{"broken": false, "silent": true} {
		inCluster(t, name, func(t *testing.T, c *cluster) {
			g, stop := c.start("n", false, roomy)
			o := c.begin(g, "a1")
			overwrite(t, c.store, "a1", nil)
			broken := func(times int) hook {
				return func(ctx context.Context, _ string, do func() error) error {
					switch times--; {
					case times < 0:
						return do()
					case silent:
						<-ctx.Done()
						return ctx.Err()
					}
					return errStore
				}
			}
			c.store.set(broken(10))
			g.Lost(false)
			time.Sleep(time.Second)
			c.write(o, "x")
			time.Sleep(2 * time.Minute)
			if _, err := o.Write([]byte("x")); err == nil {
				t.Error("it is open")
			}
			c.begin(g, "a2")
			c.store.set(broken(1 << 30))
			c.store.count()
			g.Lost(false)
			time.Sleep(time.Minute)
			stop()
			before := c.store.count()
			time.Sleep(time.Hour)
			if after := c.store.count(); after != 0 || before > 100 {
				t.Errorf("%d calls, and %d after the end", before, after)
			}
		})
	}
}
