package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// failing fails the first n times that it is asked about an event.
type failing struct {
	mu    sync.Mutex
	n     int
	tries map[string]int
}

func (f *failing) fail(key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tries == nil {
		f.tries = map[string]int{}
	}
	if f.tries[key]++; f.tries[key] <= f.n {
		return fmt.Errorf("failure %d", f.tries[key])
	}
	return nil
}

// Which of the handlers of an event are done is not known to the node that takes
// over: all of them are called again, at least once each.
func TestTakeoverCallsAllHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, all := &calls{}, newCluster()
		node := func(name string) *host {
			h := start(t, open(), &realtime.Options{Backend: all.link()})
			noError(t, h.Group("work", nil, func(g *realtime.Group) error {
				return errors.Join(
					g.OnKVChange(realtime.KVMatch{}, c.handler(name+" first")),
					g.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error {
						c.add(name + " second")
						return errors.New("again")
					}))
			}))
			synctest.Wait()
			return h
		}
		a := node("a")
		a.emit(realtime.KVPut("demo", "1"))
		c.want(t, "a first kv.put 1", "a second")
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		_ = a.Close(ctx) // while it waits to call the second one again
		node("b")
		c.want(t, "b first kv.put 1", "b second")
	})
}

func TestRetry(t *testing.T) {
	t.Parallel()
	bubble(t, "with backoff, holding up its own key only", retryWithBackoff)
	bubble(t, "then the dead letter", retryUntilADeadLetter)
	bubble(t, "of each handler from 1", retryCountsForEachHandler)
	bubble(t, "not of what succeeded", retryWhatFailedOnly)
	bubble(t, "not of what is permanent", retryNothingPermanent)
	bubble(t, "of a panic, which is logged once each", retryAfterAPanic)
	bubble(t, "of one that takes too long", retryAfterATimeout)
	bubble(t, "what nobody looks at is logged", retryWithoutADeadLetter)
	bubble(t, "a dead letter that panics", retryAndAPanickingDeadLetter)
}

func retryWithBackoff(t *testing.T) {
	h, c, f := start(t, open(), nil), &calls{}, &failing{n: 3}
	began := time.Now()
	var waits []time.Duration
	noError(t, h.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
		d, _ := realtime.DeliveryOf(ctx)
		c.add(fmt.Sprint(ev.Key, " ", ev.Version, " ", d.Attempt))
		if ev.Key == "slow" && ev.Version == "1" {
			waits = append(waits, time.Since(began))
			return f.fail(ev.Version)
		}
		return nil
	}))
	h.emit(realtime.KVPut("demo", "slow").WithVersion("1"))
	h.emit(realtime.KVPut("demo", "slow").WithVersion("2"))
	h.emit(realtime.KVPut("demo", "fast").WithVersion("1"))
	c.wantSorted(t, "fast 1 1", "slow 1 1")
	h.emit(realtime.KVPut("demo", "fast").WithVersion("2"))
	c.want(t, "fast 2 1")
	time.Sleep(time.Minute)
	c.want(t, "slow 1 2", "slow 1 3", "slow 1 4", "slow 2 1")
	want := []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1400 * time.Millisecond}
	for i, at := range waits {
		if at > want[i] || at < want[i]/2 {
			t.Errorf("attempt %d came after %v, want at most %v and at least half of it", i+1, at, want[i])
		}
	}
}

func retryUntilADeadLetter(t *testing.T) {
	c, f := &calls{}, &failing{n: 100}
	h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{
		Attempts: 4,
		DeadLetter: func(ctx context.Context, d realtime.DeadLetter) {
			c.add(fmt.Sprint("dead ", d.Event.Key, " ", d.Delivery.Attempt, " ", d.Err))
		},
	}})
	noError(t,
		h.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error { return f.fail(ev.Key) }),
		h.OnKVChange(realtime.KVMatch{}, c.handler("second")))
	h.emit(realtime.KVPut("demo", "a"))
	c.want(t)
	time.Sleep(time.Minute)
	c.want(t, "dead a 4 failure 4", "second kv.put a")
}

func retryCountsForEachHandler(t *testing.T) {
	c := &calls{}
	h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{
		Attempts:   3,
		DeadLetter: func(_ context.Context, d realtime.DeadLetter) { c.add(fmt.Sprint(d.Err, " ", d.Delivery.Attempt)) },
	}})
	for _, name := range []string{"first", "second"} {
		noError(t, h.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return errors.New(name) }))
	}
	h.emit(realtime.KVPut("demo", "a"))
	time.Sleep(time.Minute)
	c.want(t, "first 3", "second 3")
}

func retryWhatFailedOnly(t *testing.T) {
	h, c, f := start(t, open(), nil), &calls{}, &failing{n: 2}
	noError(t,
		h.OnKVChange(realtime.KVMatch{}, c.handler("first")),
		h.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
			c.add("second")
			return f.fail(ev.Key)
		}),
		h.OnKVChange(realtime.KVMatch{}, c.handler("third")))
	h.emit(realtime.KVPut("demo", "a"))
	time.Sleep(time.Minute)
	c.want(t, "first kv.put a", "second", "second", "second", "third kv.put a")
}

func retryNothingPermanent(t *testing.T) {
	c := &calls{}
	h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{
		DeadLetter: func(_ context.Context, d realtime.DeadLetter) {
			c.add(fmt.Sprint("dead ", d.Event.Channel, " ", d.Delivery.Attempt, " ", errors.Is(d.Err, realtime.ErrPermanent)))
		},
	}})
	noError(t, h.OnChannel(realtime.ChannelMatch{}, realtime.Typed(func(_ context.Context, ev realtime.RenEvent, data struct{ N int }) error {
		c.add(fmt.Sprint(ev.Channel, " ", data.N))
		return nil
	})))
	h.publish("good", map[string]int{"n": 7})
	h.publish("bad", map[string]string{"n": "seven"})
	time.Sleep(time.Hour)
	c.wantSorted(t, "dead bad 1 true", "good 7")
}

func retryAfterAPanic(t *testing.T) {
	h, c, f := start(t, open(), nil), &calls{}, &failing{n: 2}
	noError(t, h.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
		if err := f.fail(ev.Key); err != nil {
			panic(err)
		}
		c.add("handled")
		return nil
	}))
	h.emit(realtime.KVPut("demo", "a"))
	time.Sleep(time.Minute)
	c.want(t, "handled")
	if log := h.logs.String(); strings.Count(log, "panic in a function of a group of handlers") != 2 || !strings.Contains(log, "retry_test.go") {
		t.Errorf("log: %s", log)
	}
}

func retryAfterATimeout(t *testing.T) {
	c := &calls{}
	h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{Timeout: time.Second}})
	noError(t, h.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, _ realtime.RenEvent) error {
		if d, _ := realtime.DeliveryOf(ctx); d.Attempt < 3 {
			<-ctx.Done()
			return ctx.Err()
		}
		c.add("handled")
		return nil
	}))
	h.emit(realtime.KVPut("demo", "a"))
	time.Sleep(3 * time.Second)
	c.want(t, "handled")
}

func retryWithoutADeadLetter(t *testing.T) {
	h := start(t, open(), nil)
	noError(t, h.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return errors.New("broken for good") }))
	h.emit(realtime.KVPut("demo", "a"))
	time.Sleep(5 * time.Minute)
	if log := h.logs.String(); strings.Count(log, "an event was not handled") != 1 || !strings.Contains(log, "broken for good") {
		t.Errorf("log: %s", log)
	}
}

func retryAndAPanickingDeadLetter(t *testing.T) {
	c := &calls{}
	h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{
		DeadLetter: func(context.Context, realtime.DeadLetter) { panic("dead") },
	}})
	noError(t,
		h.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return realtime.ErrPermanent }),
		h.OnKVChange(realtime.KVMatch{}, c.handler("second")))
	h.emit(realtime.KVPut("demo", "a"))
	c.want(t, "second kv.put a")
}
