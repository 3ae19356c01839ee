package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

var errFault = errors.New("fault")

// givingUp is a host with a group "work" of two handlers of keys: the first one succeeds,
// the second does what do says. What is called is added to c.
func (c *calls) givingUp(t *testing.T, h *host, name string, do func(context.Context, realtime.RenEvent) error) {
	t.Helper()
	opts := &realtime.GroupOptions{Attempts: 1, Timeout: time.Hour, DeadLetter: func(context.Context, realtime.DeadLetter) { c.add(name + " gives up") }}
	noError(t, h.Group("work", opts, func(g *realtime.Group) error {
		first := func(_ context.Context, ev realtime.RenEvent) error { c.add(name + " first " + ev.Key); return nil }
		second := func(ctx context.Context, ev realtime.RenEvent) error {
			d, _ := realtime.DeliveryOf(ctx)
			c.add(fmt.Sprint(name, " second ", ev.Key, " ", string(ev.Data), " ", d.Attempt))
			return do(ctx, ev)
		}
		return errors.Join(g.OnKVChange(realtime.KVMatch{}, first), g.OnKVChange(realtime.KVMatch{}, second))
	}))
	synctest.Wait()
}

// said is what was called since the last time, as text.
func (c *calls) said() string { return strings.Join(c.take(), ", ") }

// emitted is a write with data.
func emitted(key string) realtime.RenEvent {
	ev := realtime.KVPut("n", key)
	ev.Data = []byte(`"data"`)
	return ev
}

// A dead letter is handed to the handler that gave it up, and to no other, once more.
func TestRetryDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), nil)
		var mended atomic.Bool
		c.givingUp(t, h, "a", func(context.Context, realtime.RenEvent) error {
			if mended.Load() {
				return nil
			}
			return fmt.Errorf("%w: %w", realtime.ErrPermanent, errFault)
		})
		for _, key := range []string{"k1", "k2"} {
			h.emit(emitted(key))
			synctest.Wait()
		}
		c.take()
		all := h.DeadLetters()
		if len(all) != 2 || all[0].Handler != 1 || all[0].Delivery.Attempt != 1 {
			t.Fatalf("%+v", all)
		}
		err := h.RetryDeadLetter(t.Context(), all[0])
		if !errors.Is(err, realtime.ErrHandlerFailed) || !errors.Is(err, errFault) {
			t.Errorf("it fails again: %v", err)
		}
		if got := c.said(); got != `a second k2 "data" 2` {
			t.Errorf("called: %s", got)
		}
		again := h.DeadLetters()
		if len(again) != 2 || again[0].Delivery.Attempt != 2 || !strings.Contains(again[0].Err.Error(), "fault") {
			t.Errorf("listed after a failure: %+v", again)
		}
		mended.Store(true)
		noError(t, h.RetryDeadLetter(t.Context(), again[0]))
		if got, left := c.said(), h.DeadLetters(); got != `a second k2 "data" 3` || len(left) != 1 || left[0].Event.Key != "k1" {
			t.Errorf("called: %s; listed: %+v", got, left)
		}
		s := h.Stats().Groups["work"]
		if s.DeadLetters != 2 || s.Calls.Count() != 6 || s.Lag != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A retry says what is wrong with it.
func TestRetryErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 4}})
		c.givingUp(t, h, "a", func(context.Context, realtime.RenEvent) error { return errFault })
		h.emit(emitted("k"))
		synctest.Wait()
		letter := h.DeadLetters()[0]
		change := func(f func(*realtime.DeadLetter)) realtime.DeadLetter {
			l := letter
			f(&l)
			return l
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		c.take()
		for name, row := range map[string]struct {
			ctx    context.Context
			letter realtime.DeadLetter
			want   error
		}{
			"zero":       {t.Context(), realtime.DeadLetter{}, realtime.ErrBadOption},
			"group":      {t.Context(), change(func(l *realtime.DeadLetter) { l.Delivery.Group = "others" }), realtime.ErrBadGroup},
			"process":    {t.Context(), change(func(l *realtime.DeadLetter) { l.Delivery.Group = "" }), realtime.ErrBadGroup},
			"handler":    {t.Context(), change(func(l *realtime.DeadLetter) { l.Handler = 7 }), realtime.ErrBadGroup},
			"below zero": {t.Context(), change(func(l *realtime.DeadLetter) { l.Handler = -1 }), realtime.ErrBadGroup},
			"epoch":      {t.Context(), change(func(l *realtime.DeadLetter) { l.Delivery.Cursor = "9.1" }), realtime.ErrGone},
			"ended":      {ended, letter, context.Canceled},
		} {
			if err := h.RetryDeadLetter(row.ctx, row.letter); !errors.Is(err, row.want) {
				t.Errorf("%s: %v, want %v", name, err, row.want)
			}
		}
		if got := c.said(); got != "" {
			t.Errorf("called: %s", got)
		}
		for i := range 8 {
			h.publish("room", i)
		}
		synctest.Wait() // the node has read them
		if err := h.RetryDeadLetter(t.Context(), letter); !errors.Is(err, realtime.ErrGone) {
			t.Errorf("evicted: %v", err)
		}
		noError(t, h.Close(t.Context()))
		if err := h.RetryDeadLetter(t.Context(), letter); !errors.Is(err, realtime.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

// Retries wait their turn, are bounded, and are not made for nobody.
func TestRetriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, block, failing := &calls{}, make(chan struct{}), true
		h := start(t, open(), nil)
		c.givingUp(t, h, "a", func(context.Context, realtime.RenEvent) error {
			if failing {
				return errFault
			}
			<-block
			return nil
		})
		for i := range 18 {
			h.emit(emitted(fmt.Sprint("k", i)))
			synctest.Wait()
		}
		failing = false
		all := h.DeadLetters()
		c.take()
		outcomes := make(chan error, 17)
		for _, l := range all[:16] {
			go func() { outcomes <- h.RetryDeadLetter(t.Context(), l) }()
		}
		synctest.Wait()
		for name, l := range map[string]realtime.DeadLetter{"the same": all[0], "another": all[16]} {
			if err := h.RetryDeadLetter(t.Context(), l); !errors.Is(err, realtime.ErrTemporary) {
				t.Errorf("%s: %v", name, err)
			}
		}
		close(block)
		for range 16 {
			noError(t, <-outcomes)
		}
		block = make(chan struct{})
		go func() { outcomes <- h.RetryDeadLetter(t.Context(), all[16]) }()
		synctest.Wait()
		h.emit(emitted(all[16].Event.Key)) // waits for the one before it
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.take()
		l := all[16]
		l.Handler = 0
		if err := h.RetryDeadLetter(short, l); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in its lane: %v", err)
		}
		close(block)
		noError(t, <-outcomes)
		if got := c.said(); strings.Count(got, "first") != 1 { // of the event
			t.Errorf("called: %s", got)
		}
	})
}

// A handler that panics, or ends its goroutine, has failed again, and the lane goes on.
func TestRetryOfABrokenHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), nil)
		do := func() error { return errFault }
		c.givingUp(t, h, "a", func(context.Context, realtime.RenEvent) error { return do() })
		h.emit(emitted("k"))
		synctest.Wait()
		for name, f := range map[string]func() error{
			"panics": func() error { panic("fault") }, "ends": func() error { runtime.Goexit(); return nil },
		} {
			do = f
			if err := h.RetryDeadLetter(t.Context(), h.DeadLetters()[0]); !errors.Is(err, realtime.ErrHandlerFailed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		do = func() error { return nil }
		noError(t, h.RetryDeadLetter(t.Context(), h.DeadLetters()[0]))
		c.take()
		h.emit(emitted("k"))
		if got := c.said(); !strings.Contains(got, "a second k") {
			t.Errorf("the lane stands still: %s", got)
		}
	})
}

// worker is a node with the group of [calls.givingUp].
func worker(t *testing.T, c *calls, cl *cluster, name string, do func(context.Context, realtime.RenEvent) error) (*host, *nodeLink) {
	link := cl.link()
	h := start(t, open(), &realtime.Options{Backend: link, History: realtime.History{Events: 8}})
	c.givingUp(t, h, name, do)
	return h, link
}

// fail is a handler that fails.
func fail(context.Context, realtime.RenEvent) error { return errFault }

// succeed is a handler that succeeds.
func succeed(context.Context, realtime.RenEvent) error { return nil }

// Whichever node is asked, the one that holds the group retries; the node that has the
// letter hears of it; and an event that a node no longer keeps is read from the log.
func TestRetryInACluster(t *testing.T) {
	bubble(t, "asked elsewhere", clusterRetryAskedElsewhere)
	bubble(t, "the group has moved", clusterRetryAfterAMove)
	bubble(t, "the holder dies", clusterRetryWhenTheHolderDies)
	bubble(t, "nobody holds it", clusterRetryOfNobody)
}

func clusterRetryAskedElsewhere(t *testing.T) {
	c, cl := &calls{}, newCluster()
	var mended atomic.Bool
	a, _ := worker(t, c, cl, "a", func(context.Context, realtime.RenEvent) error {
		if mended.Load() {
			return nil
		}
		return errFault
	})
	b, _ := worker(t, c, cl, "b", succeed)
	d, _ := cl.node(t, open()) // knows nothing of the group
	a.emit(emitted("k"))
	synctest.Wait()
	letter := a.DeadLetters()[0]
	for i := range 20 { // until no ring has it
		a.publish("room", i)
	}
	c.take()
	err := d.RetryDeadLetter(t.Context(), letter)
	if !errors.Is(err, realtime.ErrHandlerFailed) || !strings.Contains(err.Error(), "fault") {
		t.Errorf("fails: %v", err)
	}
	if l := a.DeadLetters()[0]; l.Delivery.Attempt != 2 {
		t.Errorf("listed: %+v", l)
	}
	mended.Store(true)
	noError(t, b.RetryDeadLetter(t.Context(), letter))
	if got := c.said(); got != `a second k "data" 2, a second k "data" 2` || len(a.DeadLetters()) != 0 {
		t.Errorf("called: %s; listed: %+v", got, a.DeadLetters())
	}
	for want, change := range map[error]func(*realtime.DeadLetter){
		realtime.ErrBadGroup: func(l *realtime.DeadLetter) { l.Delivery.Group = "others" },
		realtime.ErrGone:     func(l *realtime.DeadLetter) { l.Delivery.Cursor = "9.1" },
	} {
		l := letter
		change(&l)
		if err := d.RetryDeadLetter(t.Context(), l); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func clusterRetryAfterAMove(t *testing.T) {
	c, cl := &calls{}, newCluster()
	a, _ := worker(t, c, cl, "a", fail)
	b, _ := worker(t, c, cl, "b", succeed)
	a.emit(emitted("k"))
	synctest.Wait()
	letter := a.DeadLetters()[0]
	noError(t, a.Close(t.Context()))
	c.take()
	noError(t, b.RetryDeadLetter(t.Context(), letter)) // also while nobody holds it
	if got := c.said(); got != `b second k "data" 2` {
		t.Errorf("called: %s", got)
	}
}

func clusterRetryWhenTheHolderDies(t *testing.T) {
	c, cl := &calls{}, newCluster()
	first := true
	a, link := worker(t, c, cl, "a", func(ctx context.Context, _ realtime.RenEvent) error {
		if first {
			first = false
			return errFault
		}
		<-ctx.Done()
		return ctx.Err()
	})
	b, _ := worker(t, c, cl, "b", succeed)
	a.emit(emitted("k"))
	synctest.Wait()
	letter := a.DeadLetters()[0]
	time.AfterFunc(time.Second, link.kill)
	c.take()
	noError(t, b.RetryDeadLetter(t.Context(), letter))
	if got := c.said(); !strings.HasSuffix(got, `b second k "data" 2`) {
		t.Errorf("called: %s", got)
	}
}

func clusterRetryOfNobody(t *testing.T) {
	c, cl := &calls{}, newCluster()
	a, _ := worker(t, c, cl, "a", fail)
	d, _ := cl.node(t, open())
	a.emit(emitted("k"))
	synctest.Wait()
	letter := a.DeadLetters()[0]
	noError(t, a.Close(t.Context()))
	began := time.Now()
	if err := d.RetryDeadLetter(t.Context(), letter); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
