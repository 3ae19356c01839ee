package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// cluster is a backend that several nodes share, each through a connection of its
// own that can be cut.
type cluster struct{ backend.Backend }

type nodeLink struct {
	backend.Backend
	lag chan struct{} // holds records up until it is closed; nil: none
	cut atomic.Bool
	end context.CancelFunc
	ctx context.Context
}

var errCut = errors.New("connection cut")

func newCluster() *cluster { return &cluster{realtime.NewMemory()} }

// put stores a write of no node.
func (c *cluster) put(key string) error {
	ev := backend.Event(realtime.KVPut("demo", key))
	ev.UnixMilli = time.Now().UnixMilli()
	p := backend.Payload{Event: ev}
	_, err := c.Append(context.Background(), backend.Entry{Data: p.Encode()})
	return err
}

func (c *cluster) link() *nodeLink {
	l := &nodeLink{Backend: c.Backend}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

func (l *nodeLink) kill() {
	l.cut.Store(true)
	l.end()
}

func (l *nodeLink) Close(context.Context) error { l.end(); return nil }

func (l *nodeLink) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if l.cut.Load() {
		return backend.Position{}, errCut
	}
	return l.Backend.Append(ctx, e)
}

func (l *nodeLink) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	if l.cut.Load() {
		return errCut
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	return l.Backend.Follow(ctx, after, func(records []backend.Record) {
		if l.lag != nil {
			select {
			case <-l.lag:
			case <-ctx.Done():
				return
			}
		}
		sink(records)
	})
}

func (l *nodeLink) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	if l.cut.Load() {
		return backend.Item{}, errCut
	}
	return l.Backend.Get(ctx, k)
}

func (l *nodeLink) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if l.cut.Load() {
		return 0, errCut
	}
	return l.Backend.Put(ctx, w)
}

// groupWorld has the nodes of one test, and what their handlers were called with.
type groupWorld struct {
	*testing.T
	*calls
	*cluster
}

// worker starts a node that handles for the group "work": it notes name and key of each
// event, and ends as f does.
func (w groupWorld) worker(name string, f realtime.EventHandler) (*host, *nodeLink) {
	w.Helper()
	link := w.link()
	h := start(w.T, open(), &realtime.Options{Backend: link})
	noError(w.T, h.Group("work", nil, func(g *realtime.Group) error {
		return g.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
			w.add(name + " " + ev.Key)
			if f != nil {
				return f(ctx, ev)
			}
			return nil
		})
	}))
	synctest.Wait()
	return h, link
}

func TestGroups(t *testing.T) {
	for name, f := range map[string]func(groupWorld){
		"a group needs a name":             groupWorld.groupNeedsAName,
		"one node handles all":             groupWorld.oneNodeHandlesAll,
		"another one goes on where it was": groupWorld.anotherGoesOn,
		"what a dead node finished is not done again, though what it did not is lost": groupWorld.deadNodeAndLostEvents,
		"handlers get what happens after their registration":                          groupWorld.handlersAfterRegistration,
		"a dead node's work is done again, what it finished is not":                   groupWorld.deadNodesWork,
		"attempts go on counting":                                                     groupWorld.attemptsGoOnCounting,
		"an attempt that the end of its node interrupts does not count":               groupWorld.interruptedAttempt,
		"one that lags in the log waits until it does not":                            groupWorld.laggingNodeWaits,
		"a new group begins now, an old one where it was":                             groupWorld.newAndOldGroup,
	} {
		bubble(t, name, func(t *testing.T) { f(groupWorld{t, &calls{}, newCluster()}) })
	}
}

func (w groupWorld) groupNeedsAName() {
	h := start(w.T, open(), &realtime.Options{Backend: w.link()})
	err := h.OnKVChange(realtime.KVMatch{}, nil)
	if !errors.Is(err, realtime.ErrBadGroup) {
		w.Error(err)
	}
}

func (w groupWorld) oneNodeHandlesAll() {
	a, _ := w.worker("a", nil)
	b, _ := w.worker("b", nil)
	for i := range 5 {
		a.emit(realtime.KVPut("demo", fmt.Sprint("a", i)))
		b.emit(realtime.KVPut("demo", fmt.Sprint("b", i)))
	}
	w.wantSorted(w.T, "a a0", "a a1", "a a2", "a a3", "a a4", "a b0", "a b1", "a b2", "a b3", "a b4")
}

func (w groupWorld) anotherGoesOn() {
	a, _ := w.worker("a", nil)
	b, _ := w.worker("b", nil)
	a.emit(realtime.KVPut("demo", "1"))
	w.want(w.T, "a 1")
	if err := a.Close(w.Context()); err != nil {
		w.Error(err)
	}
	b.emit(realtime.KVPut("demo", "2"))
	time.Sleep(4 * time.Second)
	w.want(w.T, "b 2")
}

func (w groupWorld) deadNodeAndLostEvents() {
	_, link := w.worker("a", func(ctx context.Context, ev realtime.RenEvent) error {
		if ev.Key == "1" {
			<-ctx.Done()
		}
		return ctx.Err()
	})
	for _, key := range []string{"1", "2", "3", "4"} {
		noError(w.T, w.put(key))
	}
	w.wantSorted(w.T, "a 1", "a 2", "a 3", "a 4")
	link.kill()
	b := start(w.T, open(), &realtime.Options{Backend: w.link(), History: realtime.History{Events: 3}})
	noError(w.T, b.Group("work", &realtime.GroupOptions{Missed: func(e *realtime.ResetError) { w.add("b missed " + e.Reason) }},
		func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, w.handler("b")) }))
	time.Sleep(20 * time.Second)
	b.emit(realtime.KVPut("demo", "5"))
	w.want(w.T, "b missed evicted", "b kv.put 5")
}

func (w groupWorld) handlersAfterRegistration() {
	link := w.link()
	link.lag = make(chan struct{})
	h := start(w.T, open(), &realtime.Options{Backend: link})
	on := func(g *realtime.Group, name string) error { return g.OnKVChange(realtime.KVMatch{}, w.handler(name)) }
	h.emit(realtime.KVPut("demo", "1"))
	var group *realtime.Group
	noError(w.T, h.Group("work", nil, func(g *realtime.Group) error { group = g; return on(g, "first") }))
	h.emit(realtime.KVPut("demo", "2"))
	noError(w.T, on(group, "second"))
	h.emit(realtime.KVPut("demo", "3"))
	close(link.lag)
	w.wantSorted(w.T, "first kv.put 2", "first kv.put 3", "second kv.put 3")
}

func (w groupWorld) deadNodesWork() {
	_, link := w.worker("a", func(ctx context.Context, ev realtime.RenEvent) error {
		if ev.Key == "2" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	b, _ := w.worker("b", nil)
	for _, key := range []string{"1", "2", "3"} {
		b.emit(realtime.KVPut("demo", key))
	}
	w.wantSorted(w.T, "a 1", "a 2", "a 3")
	link.kill()
	synctest.Wait()
	b.emit(realtime.KVPut("demo", "4"))
	time.Sleep(15 * time.Second)
	w.wantSorted(w.T, "b 2", "b 4")
}

func (w groupWorld) attemptsGoOnCounting() {
	attempts := func(ctx context.Context, _ realtime.RenEvent) error {
		d, _ := realtime.DeliveryOf(ctx)
		w.add(fmt.Sprint("attempt ", d.Attempt))
		return errors.New("again")
	}
	a, _ := w.worker("a", attempts)
	a.emit(realtime.KVPut("demo", "1"))
	w.want(w.T, "a 1", "attempt 1")
	ctx, cancel := context.WithTimeout(w.Context(), time.Nanosecond)
	defer cancel()
	_ = a.Close(ctx) // while it waits for the second one
	w.worker("b", attempts)
	w.want(w.T, "b 1", "attempt 2")
}

func (w groupWorld) interruptedAttempt() {
	attempts := func(ctx context.Context, _ realtime.RenEvent) error {
		d, _ := realtime.DeliveryOf(ctx)
		w.add(fmt.Sprint("attempt ", d.Attempt))
		<-ctx.Done()
		return ctx.Err()
	}
	a, _ := w.worker("a", attempts)
	a.emit(realtime.KVPut("demo", "1"))
	w.want(w.T, "a 1", "attempt 1")
	ctx, cancel := context.WithTimeout(w.Context(), time.Second)
	defer cancel()
	_ = a.Close(ctx)
	w.worker("b", attempts)
	w.want(w.T, "b 1", "attempt 1")
}

func (w groupWorld) laggingNodeWaits() {
	late := w.link()
	late.lag = make(chan struct{})
	b := start(w.T, open(), &realtime.Options{Backend: late, Groups: realtime.GroupOptions{
		Missed: func(e *realtime.ResetError) { w.add("missed " + e.Reason) },
	}})
	a, _ := w.worker("a", nil)
	a.emit(realtime.KVPut("demo", "1"))
	w.want(w.T, "a 1")
	noError(w.T, a.Close(w.Context()))
	noError(w.T, b.Group("work", nil, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, w.handler("b")) }))
	b.emit(realtime.KVPut("demo", "2"))
	time.Sleep(time.Minute)
	w.want(w.T)
	close(late.lag)
	w.want(w.T, "b kv.put 2")
}

func (w groupWorld) newAndOldGroup() {
	a, _ := w.worker("a", nil)
	a.emit(realtime.KVPut("demo", "1"))
	w.want(w.T, "a 1")
	noError(w.T, a.Close(w.Context()))
	between := start(w.T, open(), &realtime.Options{Backend: w.link()})
	between.emit(realtime.KVPut("demo", "2"))
	synctest.Wait()
	noError(w.T, between.Group("new", nil, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, w.handler("new")) }))
	w.worker("b", nil)
	between.emit(realtime.KVPut("demo", "3"))
	w.wantSorted(w.T, "b 2", "b 3", "new kv.put 3")
}

func TestHandlersMiss(t *testing.T) {
	bubble(t, "what was evicted before they came to it", missEvicted)
	bubble(t, "a log that was made again", missAnotherLog)
	bubble(t, "nothing, where a backend leaves a record out that can be read back", missNothingInAGap)
	bubble(t, "and the log tells where nobody else is told", missWithoutACallback)
}

func missEvicted(t *testing.T) {
	c, release := &calls{}, make(chan struct{})
	h := start(t, open(), &realtime.Options{
		History: realtime.History{Events: 10},
		Groups:  realtime.GroupOptions{Missed: func(e *realtime.ResetError) { c.add("missed " + e.Reason) }},
	})
	noError(t, h.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
		if ev.Key == "0" {
			<-release
		}
		c.add("handled " + ev.Key)
		return nil
	}))
	h.emit(realtime.KVPut("demo", "0"))
	synctest.Wait()
	for range 30 {
		h.emit(realtime.KVPut("demo", "0"))
		synctest.Wait()
	}
	if n := realtime.Waiting(h.Realtime); n > 10 {
		t.Errorf("%d events wait for their handlers", n)
	}
	close(release)
	got := c.take()
	slices.Sort(got)
	handled, _ := slices.BinarySearch(got, "missed")
	missed := len(got) - handled                     // once for each time that more was lost
	if handled != 1+10 || missed < 1 || missed > 3 { // the first event, and what is still there
		t.Errorf("calls: %v", got)
	}
	h.emit(realtime.KVPut("demo", "1"))
	c.want(t, "handled 1")
}

func missAnotherLog(t *testing.T) {
	c, f := &calls{}, backendtest.NewFaulty(realtime.NewMemory())
	h := start(t, open(), &realtime.Options{Backend: f, Groups: realtime.GroupOptions{
		Missed: func(e *realtime.ResetError) { c.add("missed " + e.Reason) },
	}})
	noError(t, h.OnKVChange(realtime.KVMatch{}, c.handler("h")))
	h.emit(realtime.KVPut("demo", "1"))
	c.want(t, "h kv.put 1")
	f.NewEpoch()
	h.emit(realtime.KVPut("demo", "2"))
	h.emit(realtime.KVPut("demo", "3"))
	time.Sleep(time.Second) // what is read back may end before it, and the log is then followed after a wait
	got := c.take()
	if len(got) == 0 || got[0] != "missed epoch" || !slices.Contains(got, "h kv.put 3") {
		t.Errorf("calls: %v", got)
	}
}

func missNothingInAGap(t *testing.T) {
	c, f := &calls{}, backendtest.NewFaulty(realtime.NewMemory())
	h := start(t, open(), &realtime.Options{Backend: f, Groups: realtime.GroupOptions{
		Concurrency: 1, // the order of two keys is nobody's promise otherwise
		Missed:      func(e *realtime.ResetError) { c.add("missed " + e.Reason) },
	}})
	noError(t, h.OnKVChange(realtime.KVMatch{}, c.handler("h")))
	f.Skip(1)
	h.emit(realtime.KVPut("demo", "1"))
	h.emit(realtime.KVPut("demo", "2"))
	time.Sleep(time.Second)
	c.want(t, "h kv.put 1", "h kv.put 2")
}

func missWithoutACallback(t *testing.T) {
	f := backendtest.NewFaulty(realtime.NewMemory())
	h := start(t, open(), &realtime.Options{Backend: f})
	noError(t, h.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return nil }))
	synctest.Wait()
	f.LoseTail(1)
	h.emit(realtime.KVPut("demo", "1"))
	time.Sleep(time.Second)
	if !strings.Contains(h.logs.String(), "handlers missed events") {
		t.Error(h.logs.String())
	}
}

// A key whose event fails holds up no other keys, however much happens meanwhile,
// and what is kept of them stays bounded.
func TestFailingKeyHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := &calls{}, lasting{realtime.NewMemory()}
		h := start(t, open(), &realtime.Options{Backend: b, History: realtime.History{Events: 10}})
		opts := &realtime.GroupOptions{
			Backoff: time.Minute, MaxBackoff: time.Minute,
			Missed: func(e *realtime.ResetError) { c.add("missed " + e.Reason) },
		}
		noError(t, h.Group("work", opts, func(g *realtime.Group) error {
			return g.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
				c.add(ev.Key)
				if ev.Key == "poison" {
					return errors.New("no")
				}
				return nil
			})
		}))
		for range 2 {
			h.emit(realtime.KVPut("demo", "poison"))
			c.want(t, "poison")
			for i := range 100 {
				h.emit(realtime.KVPut("demo", fmt.Sprint(i)))
				c.want(t, fmt.Sprint(i))
			}
			time.Sleep(time.Minute)
			c.want(t, "missed evicted") // the first one, which is gone
		}
		h.emit(realtime.KVPut("demo", "poison"))
		for i := range 100 {
			h.emit(realtime.KVPut("demo", fmt.Sprint(i)))
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		if it, err := b.Get(t.Context(), backend.Key{Kind: "group", Group: "progress", Name: "work"}); err != nil || len(it.Value) > 80 {
			t.Errorf("a record of %d bytes has what is done after one event that is not; %v", len(it.Value), err)
		}
	})
}

// A handler that ends its goroutine, as t.FailNow does, has failed for good.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{
			Concurrency: 1,
			DeadLetter:  func(_ context.Context, d realtime.DeadLetter) { c.add("dead " + d.Event.Channel); runtime.Goexit() },
		}})
		noError(t,
			h.OnChannel(realtime.ChannelMatch{Channel: "a"}, func(context.Context, realtime.RenEvent) error {
				runtime.Goexit()
				return nil
			}),
			h.OnChannel(realtime.ChannelMatch{}, c.handler("h")))
		for _, channel := range []string{"a", "a", "b"} {
			h.publish(channel, 1)
		}
		c.wantSorted(t, "dead a", "dead a", "h realtime.message a", "h realtime.message a", "h realtime.message b")
		noError(t, h.Close(t.Context()))
	})
}
