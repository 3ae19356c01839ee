package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// calls is what handlers were called with.
type calls struct {
	mu   sync.Mutex
	list []string
}

func (c *calls) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, s)
}

// take waits, in a bubble, until nothing moves, and returns what has been added
// since it was last called.
func (c *calls) take() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

func (c *calls) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, c.take()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func (c *calls) wantSorted(t *testing.T, want ...string) {
	t.Helper()
	got := c.take()
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// handler notes the name and what the event is about.
func (c *calls) handler(name string) realtime.Handler {
	return func(_ context.Context, ev realtime.RenEvent) error {
		c.add(strings.TrimSpace(fmt.Sprint(name, " ", ev.Type, " ", ev.Channel, ev.Key)))
		return nil
	}
}

func noError(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func message(typ string) map[string]string { return map[string]string{"type": typ} }

func TestHandlersMatch(t *testing.T) {
	bubble(t, "channels", func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		noError(t,
			h.OnChannel(realtime.ChannelMatch{Channel: "huddle:*", Type: "presence"}, c.handler("glob,type")),
			h.OnChannel(realtime.ChannelMatch{Channel: "huddle:1"}, c.handler("exact")),
			h.OnChannel(realtime.ChannelMatch{Type: "p*"}, c.handler("type")),
			h.OnChannel(realtime.ChannelMatch{}, c.handler("all")))
		h.publish("huddle:1", message("presence"))
		c.want(t, "glob,type realtime.message huddle:1", "exact realtime.message huddle:1", "type realtime.message huddle:1", "all realtime.message huddle:1")
		h.publish("huddle:2", message("typing"))
		c.want(t, "all realtime.message huddle:2")
		h.publish("room", message("poke"))
		c.want(t, "type realtime.message room", "all realtime.message room")
		h.join("huddle:1", "ada", nil)
		c.want(t, "glob,type presence.join huddle:1")
		h.emit(realtime.KVPut("huddle:1", "huddle:1"))
		c.want(t)
	})
	bubble(t, "presence of any channels", func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		var want []string
		for _, pattern := range []string{"", "*", "*:1", "h*", "huddle:?", "huddle:1"} {
			noError(t, h.OnChannel(realtime.ChannelMatch{Channel: pattern, Type: "presence"}, c.handler(pattern)))
			want = append(want, strings.TrimSpace(pattern+" presence.join huddle:1"))
		}
		h.join("huddle:1", "ada", nil)
		c.want(t, want...)
	})
	bubble(t, "the type of data", func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		noError(t, h.OnChannel(realtime.ChannelMatch{Type: "x"}, c.handler("x")))
		for data, matches := range map[string]bool{
			`{"type":"x"}`: true, `{"a":{"type":"y"},"type":"x"}`: true, `{"type":"y","type":"x"}`: true, `{"\u0074ype":"x"}`: true,
			`{"type":"x","type":"y"}`: false, `{"Type":"x"}`: false, `{"a":{"type":"x"}}`: false, `{"type":["x"]}`: false,
			`["type","x"]`: false, `"x"`: false, `null`: false, `{}`: false, `{"type":null}`: false, `{"type":"x "}`: false,
		} {
			h.publish("room", json.RawMessage(data))
			if got := c.take(); len(got) == 1 != matches {
				t.Errorf("%s: %v", data, got)
			}
		}
	})
	bubble(t, "data", func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		noError(t,
			h.OnKVChange(realtime.KVMatch{Namespace: "demo", Key: "todolist:*:item:*"}, c.handler("kv")),
			h.OnKVChange(realtime.KVMatch{Op: "expired"}, c.handler("expired")),
			h.OnDBChange(realtime.DBMatch{Collection: "users"}, c.handler("db")),
			h.OnDBChange(realtime.DBMatch{Key: "a*", Op: "created"}, c.handler("created")),
			h.OnStorage(realtime.StorageMatch{Key: "photos/*"}, c.handler("storage")),
			h.OnStorage(realtime.StorageMatch{Op: "deleted"}, c.handler("deleted")),
			h.DefineEvent(realtime.EventMatch{Resource: "custom", Namespace: "jobs", Type: "priority:high"}, c.handler("custom")))
		for _, step := range []struct {
			ev   realtime.RenEvent
			want []string
		}{
			{realtime.KVPut("demo", "todolist:1:item:2"), []string{"kv kv.put todolist:1:item:2"}},
			{realtime.KVDelete("demo", "todolist:1:item:2"), []string{"kv kv.delete todolist:1:item:2"}},
			{realtime.KVExpired("demo", "todolist:1:item:2"), []string{"kv kv.expired todolist:1:item:2", "expired kv.expired todolist:1:item:2"}},
			{realtime.KVPut("other", "todolist:1:item:2"), nil},
			{realtime.KVPut("demo", "todolist:1"), nil},
			{realtime.DocumentCreated("users", "ada"), []string{"db db.document.created ada", "created db.document.created ada"}},
			{realtime.DocumentUpdated("posts", "a1"), nil},
			{realtime.DocumentDeleted("users", "bob"), []string{"db db.document.deleted bob"}},
			{realtime.ObjectCreated("photos/1.png"), []string{"storage storage.object.created photos/1.png"}},
			{realtime.ObjectDeleted("docs/1"), []string{"deleted storage.object.deleted docs/1"}},
			{realtime.RenEvent{Resource: "custom", Namespace: "jobs", Type: "priority:high"}, []string{"custom priority:high"}},
			{realtime.RenEvent{Resource: "custom", Namespace: "jobs", Type: "priority:low"}, nil},
			{realtime.RenEvent{Resource: "other", Namespace: "jobs", Type: "priority:high"}, nil},
		} {
			h.emit(step.ev)
			c.want(t, step.want...)
		}
	})
}

// TestIndexAgreesWithAsking finds by index what asking every rule finds.
func TestIndexAgreesWithAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		rnd := rand.New(rand.NewPCG(1, 2))
		pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
		var matches []realtime.EventMatch
		pattern := func() string {
			return pick("", "", "*", "a", "ab", "a*", "ab*", "abc*", "*b", "?b", "{a,b}*", "[a-b]", `\a*`)
		}
		for i := range 400 {
			m := realtime.EventMatch{Resource: pick("", "a", "a*"), Type: pattern(), Namespace: pattern(), Key: pattern()}
			matches = append(matches, m)
			noError(t, h.DefineEvent(m, func(context.Context, realtime.RenEvent) error { c.add(fmt.Sprint(i)); return nil }))
		}
		name := func() string { return pick("a", "b", "ab", "abc", "abcd", "xb", "x") }
		for range 200 {
			ev := realtime.RenEvent{Resource: name(), Type: name(), Namespace: name(), Key: name()}
			h.emit(ev)
			var want []string
			for i, m := range matches {
				if ok, err := realtime.Matches(m, ev); err != nil {
					t.Fatal(err)
				} else if ok {
					want = append(want, fmt.Sprint(i))
				}
			}
			if diff := cmp.Diff(want, c.take()); diff != "" {
				t.Fatalf("%+v (-asked +index):\n%s", ev, diff)
			}
		}
	})
}

func TestHandlersAreRefused(t *testing.T) {
	h := start(t, open(), nil)
	nothing := func(context.Context, realtime.RenEvent) error { return nil }
	group := func(name string, opts *realtime.GroupOptions) error {
		return h.Group(name, opts, func(*realtime.Group) error { return nil })
	}
	noError(t, group("taken", nil))
	other := errors.New("other")
	for name, test := range map[string]struct {
		err  error
		want error
	}{
		"channel pattern":  {h.OnChannel(realtime.ChannelMatch{Channel: "[a"}, nothing), realtime.ErrBadPattern},
		"type pattern":     {h.OnChannel(realtime.ChannelMatch{Type: "****a*b*c*d"}, nothing), realtime.ErrBadPattern},
		"key pattern":      {h.OnKVChange(realtime.KVMatch{Key: "{a"}, nothing), realtime.ErrBadPattern},
		"kv op":            {h.OnKVChange(realtime.KVMatch{Op: "created"}, nothing), realtime.ErrBadPattern},
		"db op":            {h.OnDBChange(realtime.DBMatch{Op: "put"}, nothing), realtime.ErrBadPattern},
		"storage op":       {h.OnStorage(realtime.StorageMatch{Op: "*"}, nothing), realtime.ErrBadPattern},
		"event pattern":    {h.DefineEvent(realtime.EventMatch{Type: "a*b*c*d*e"}, nothing), realtime.ErrBadPattern},
		"no name":          {group("", nil), realtime.ErrBadGroup},
		"reserved name":    {group("$process", nil), realtime.ErrBadGroup},
		"name in use":      {group("taken", nil), realtime.ErrBadGroup},
		"register's error": {h.Group("new", nil, func(*realtime.Group) error { return other }), other},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", name, test.err, test.want)
		}
	}
	if err := group("negative", &realtime.GroupOptions{Attempts: -1}); err == nil {
		t.Error("a negative option was taken")
	}
	if err := h.OnChannel(realtime.ChannelMatch{}, nil); err == nil {
		t.Error("no handler was taken for one")
	}
	if _, err := realtime.New(open(), &realtime.Options{Handlers: realtime.GroupOptions{Timeout: -1}}); err == nil {
		t.Error("a negative option was taken by New")
	}
	noError(t, h.Close(t.Context()))
	if err := h.OnChannel(realtime.ChannelMatch{}, nothing); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("first handler after Close: %v", err)
	}
	if err := group("late", nil); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("group after Close: %v", err)
	}
	h = start(t, open(), nil)
	noError(t, h.OnChannel(realtime.ChannelMatch{}, nothing), h.Close(t.Context()))
	if err := h.OnChannel(realtime.ChannelMatch{}, nothing); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("second handler after Close: %v", err)
	}
}

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

func TestRetry(t *testing.T) {
	bubble(t, "with backoff, holding up its own key only", func(t *testing.T) {
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
	})
	bubble(t, "then the dead letter", func(t *testing.T) {
		c, f := &calls{}, &failing{n: 100}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{
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
	})
	bubble(t, "of each handler anew", func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{
			Attempts:   3,
			DeadLetter: func(_ context.Context, d realtime.DeadLetter) { c.add(fmt.Sprint(d.Err, " ", d.Delivery.Attempt)) },
		}})
		for _, name := range []string{"first", "second"} {
			noError(t, h.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return errors.New(name) }))
		}
		h.emit(realtime.KVPut("demo", "a"))
		time.Sleep(time.Minute)
		c.want(t, "first 3", "second 3")
	})
	bubble(t, "not of what succeeded", func(t *testing.T) {
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
	})
	bubble(t, "not of what is permanent", func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{
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
	})
	bubble(t, "of a panic, which is logged once each", func(t *testing.T) {
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
		if log := h.logs.String(); strings.Count(log, "panic in a handler") != 2 || !strings.Contains(log, "events_test.go") {
			t.Errorf("log: %s", log)
		}
	})
	bubble(t, "of one that takes too long", func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{Timeout: time.Second}})
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
	})
	bubble(t, "what nobody looks at is logged", func(t *testing.T) {
		h := start(t, open(), nil)
		noError(t, h.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return errors.New("broken for good") }))
		h.emit(realtime.KVPut("demo", "a"))
		time.Sleep(5 * time.Minute)
		if log := h.logs.String(); strings.Count(log, "an event was not handled") != 1 || !strings.Contains(log, "broken for good") {
			t.Errorf("log: %s", log)
		}
	})
	bubble(t, "a dead letter that panics", func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{
			DeadLetter: func(context.Context, realtime.DeadLetter) { panic("dead") },
		}})
		noError(t,
			h.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return realtime.ErrPermanent }),
			h.OnKVChange(realtime.KVMatch{}, c.handler("second")))
		h.emit(realtime.KVPut("demo", "a"))
		c.want(t, "second kv.put a")
	})
}

func TestHandlersRunInOrderAndParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{Concurrency: 4}})
		var mu sync.Mutex
		seen := map[string][]string{}
		var running, most atomic.Int32
		noError(t, h.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
			if rand.IntN(10) == 0 {
				return errors.New("again")
			}
			mu.Lock()
			defer mu.Unlock()
			seen[ev.Key] = append(seen[ev.Key], ev.Version)
			return nil
		}))
		var want []string
		for n := range 50 {
			want = append(want, fmt.Sprint(n))
			for k := range 10 {
				h.emit(realtime.KVPut("demo", fmt.Sprint(k)).WithVersion(fmt.Sprint(n)))
			}
		}
		time.Sleep(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for k := range 10 {
			if diff := cmp.Diff(want, seen[fmt.Sprint(k)]); diff != "" {
				t.Errorf("key %d (-want +got):\n%s", k, diff)
			}
		}
		if most.Load() != 4 {
			t.Errorf("at most %d handlers ran at once", most.Load())
		}
	})
}

func TestHandlersCauseEvents(t *testing.T) {
	bubble(t, "a loop stops", func(t *testing.T) {
		c, n := &calls{}, 0
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{
			DeadLetter: func(_ context.Context, d realtime.DeadLetter) {
				c.add(fmt.Sprint("dead ", errors.Is(d.Err, realtime.ErrLoop)))
			},
		}})
		noError(t, h.OnChannel(realtime.ChannelMatch{Channel: "ping"}, func(ctx context.Context, _ realtime.RenEvent) error {
			n++
			return h.Publish(ctx, "ping", n)
		}))
		h.publish("ping", 0)
		time.Sleep(time.Hour)
		c.want(t, "dead true")
		if n != 9 { // the first, and the 8 that it led to
			t.Errorf("the handler ran %d times", n)
		}
	})
	bubble(t, "a loop through presence and data stops", func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{
			DeadLetter: func(_ context.Context, d realtime.DeadLetter) {
				c.add(fmt.Sprint("dead ", errors.Is(d.Err, realtime.ErrLoop)))
			},
		}})
		noError(t,
			h.OnChannel(realtime.ChannelMatch{Channel: "room", Type: "presence"}, func(ctx context.Context, ev realtime.RenEvent) error {
				if ev.Type == "presence.join" {
					return h.Presence().Leave(ctx, "room", ev.User)
				}
				return h.Emit(ctx, realtime.KVPut("demo", ev.User))
			}),
			h.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
				return h.Presence().Join(ctx, "room", ev.Key, nil)
			}))
		h.emit(realtime.KVPut("demo", "ada"))
		time.Sleep(time.Hour)
		c.want(t, "dead true")
	})
	bubble(t, "without the mark of a client", func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		noError(t,
			h.OnChannel(realtime.ChannelMatch{Channel: "in"}, func(ctx context.Context, ev realtime.RenEvent) error {
				if ev.Source == "" {
					t.Error("the handler does not see who caused its event")
				}
				return h.Publish(ctx, "out", 1)
			}),
			h.OnChannel(realtime.ChannelMatch{Channel: "out"}, func(_ context.Context, ev realtime.RenEvent) error {
				c.add("src " + ev.Source)
				return nil
			}))
		h.publish("in", 1, realtime.FromClient(tab1))
		c.want(t, "src ")
	})
	bubble(t, "a delivery has a name", func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		if _, ok := realtime.DeliveryOf(t.Context()); ok {
			t.Error("a context of nobody's has a delivery")
		}
		var cursors []realtime.Cursor
		noError(t, h.Group("audit", nil, func(g *realtime.Group) error {
			return g.OnChannel(realtime.ChannelMatch{}, func(ctx context.Context, _ realtime.RenEvent) error {
				d, _ := realtime.DeliveryOf(ctx)
				cursors = append(cursors, d.Cursor)
				c.add(fmt.Sprint(d.Group, " ", d.Attempt))
				if d.Attempt == 1 {
					return errors.New("again")
				}
				return nil
			})
		}))
		h.publish("room", 1)
		synctest.Wait()
		head := h.Cursor()
		time.Sleep(time.Second)
		c.want(t, "audit 1", "audit 2")
		if cursors[0] != head || cursors[1] != head {
			t.Errorf("cursors %v, want %v", cursors, head)
		}
	})
}

func TestCloseDrainsHandlers(t *testing.T) {
	bubble(t, "all that was accepted is handled", func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{Backoff: 100 * time.Millisecond}}) // in time for Close
		noError(t, h.OnChannel(realtime.ChannelMatch{Channel: "a*"}, func(ctx context.Context, ev realtime.RenEvent) error {
			time.Sleep(100 * time.Millisecond)
			if d, _ := realtime.DeliveryOf(ctx); d.Attempt < 3 {
				return errors.New("again")
			}
			c.add("handled " + ev.Channel)
			if ev.Channel == "aaa" {
				return nil
			}
			return h.Publish(ctx, ev.Channel+"a", 1)
		}))
		h.publish("a", 1)
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		c.want(t, "handled a", "handled aa", "handled aaa")
	})
	bubble(t, "as far as time allows", func(t *testing.T) {
		h, c := start(t, open(), nil), &calls{}
		noError(t, h.OnChannel(realtime.ChannelMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
			<-ctx.Done()
			c.add("ended " + ev.Channel)
			return ctx.Err()
		}))
		h.publish("a", 1)
		h.publish("b", 1)
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		err := h.Close(ctx)
		if d := time.Since(began); d != 2*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v after %v", err, d)
		}
		c.wantSorted(t, "ended a", "ended b")
	})
}

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
	_, err := c.Append(context.Background(), backend.Entry{Event: ev})
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

func (l *nodeLink) Follow(ctx context.Context, after backend.Position, sink func([]*backend.Record)) error {
	if l.cut.Load() {
		return errCut
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	return l.Backend.Follow(ctx, after, func(records []*backend.Record) {
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

func (l *nodeLink) ClaimGroup(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
	if l.cut.Load() {
		return backend.Progress{}, errCut
	}
	return l.Backend.ClaimGroup(ctx, group, node, ttl)
}

func (l *nodeLink) CommitGroup(ctx context.Context, group, node string, p backend.Progress) error {
	if l.cut.Load() {
		return errCut
	}
	return l.Backend.CommitGroup(ctx, group, node, p)
}

func (l *nodeLink) ReleaseGroup(ctx context.Context, group, node string) error {
	if l.cut.Load() {
		return errCut
	}
	return l.Backend.ReleaseGroup(ctx, group, node)
}

func TestGroups(t *testing.T) {
	type world struct {
		*testing.T
		*calls
		*cluster
	}
	worker := func(w world, name string, f realtime.Handler) (*host, *nodeLink) {
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
	cases := map[string]func(w world){
		"a group needs a name": func(w world) {
			h := start(w.T, open(), &realtime.Options{Backend: w.link()})
			err := h.OnKVChange(realtime.KVMatch{}, nil)
			if !errors.Is(err, realtime.ErrBadGroup) {
				w.Error(err)
			}
		},
		"one node handles all": func(w world) {
			a, _ := worker(w, "a", nil)
			b, _ := worker(w, "b", nil)
			for i := range 5 {
				a.emit(realtime.KVPut("demo", fmt.Sprint("a", i)))
				b.emit(realtime.KVPut("demo", fmt.Sprint("b", i)))
			}
			w.wantSorted(w.T, "a a0", "a a1", "a a2", "a a3", "a a4", "a b0", "a b1", "a b2", "a b3", "a b4")
		},
		"another one goes on where it was": func(w world) {
			a, _ := worker(w, "a", nil)
			b, _ := worker(w, "b", nil)
			a.emit(realtime.KVPut("demo", "1"))
			w.want(w.T, "a 1")
			if err := a.Close(w.Context()); err != nil {
				w.Error(err)
			}
			b.emit(realtime.KVPut("demo", "2"))
			time.Sleep(4 * time.Second)
			w.want(w.T, "b 2")
		},
		"what a dead node finished is not done again, though what it did not is lost": func(w world) {
			_, link := worker(w, "a", func(ctx context.Context, ev realtime.RenEvent) error {
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
		},
		"handlers get what happens after their registration": func(w world) {
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
		},
		"a dead node's work is done again, what it finished is not": func(w world) {
			_, link := worker(w, "a", func(ctx context.Context, ev realtime.RenEvent) error {
				if ev.Key == "2" {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			})
			b, _ := worker(w, "b", nil)
			for _, key := range []string{"1", "2", "3"} {
				b.emit(realtime.KVPut("demo", key))
			}
			w.wantSorted(w.T, "a 1", "a 2", "a 3")
			link.kill()
			synctest.Wait()
			b.emit(realtime.KVPut("demo", "4"))
			time.Sleep(15 * time.Second)
			w.wantSorted(w.T, "b 2", "b 4")
		},
		"attempts go on counting": func(w world) {
			attempts := func(ctx context.Context, _ realtime.RenEvent) error {
				d, _ := realtime.DeliveryOf(ctx)
				w.add(fmt.Sprint("attempt ", d.Attempt))
				return errors.New("again")
			}
			a, _ := worker(w, "a", attempts)
			a.emit(realtime.KVPut("demo", "1"))
			w.want(w.T, "a 1", "attempt 1")
			ctx, cancel := context.WithTimeout(w.Context(), time.Nanosecond)
			defer cancel()
			_ = a.Close(ctx) // while it waits for the second one
			worker(w, "b", attempts)
			w.want(w.T, "b 1", "attempt 2")
		},
		"an attempt that the end of its node interrupts does not count": func(w world) {
			attempts := func(ctx context.Context, _ realtime.RenEvent) error {
				d, _ := realtime.DeliveryOf(ctx)
				w.add(fmt.Sprint("attempt ", d.Attempt))
				<-ctx.Done()
				return ctx.Err()
			}
			a, _ := worker(w, "a", attempts)
			a.emit(realtime.KVPut("demo", "1"))
			w.want(w.T, "a 1", "attempt 1")
			ctx, cancel := context.WithTimeout(w.Context(), time.Second)
			defer cancel()
			_ = a.Close(ctx)
			worker(w, "b", attempts)
			w.want(w.T, "b 1", "attempt 1")
		},
		"one that is behind in the log waits until it is not": func(w world) {
			late := w.link()
			late.lag = make(chan struct{})
			b := start(w.T, open(), &realtime.Options{Backend: late, Handlers: realtime.GroupOptions{
				Missed: func(e *realtime.ResetError) { w.add("missed " + e.Reason) },
			}})
			a, _ := worker(w, "a", nil)
			a.emit(realtime.KVPut("demo", "1"))
			w.want(w.T, "a 1")
			noError(w.T, a.Close(w.Context()))
			noError(w.T, b.Group("work", nil, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, w.handler("b")) }))
			b.emit(realtime.KVPut("demo", "2"))
			time.Sleep(time.Minute)
			w.want(w.T)
			close(late.lag)
			w.want(w.T, "b kv.put 2")
		},
		"a new group begins now, an old one where it was": func(w world) {
			a, _ := worker(w, "a", nil)
			a.emit(realtime.KVPut("demo", "1"))
			w.want(w.T, "a 1")
			noError(w.T, a.Close(w.Context()))
			between := start(w.T, open(), &realtime.Options{Backend: w.link()})
			between.emit(realtime.KVPut("demo", "2"))
			synctest.Wait()
			noError(w.T, between.Group("new", nil, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, w.handler("new")) }))
			worker(w, "b", nil)
			between.emit(realtime.KVPut("demo", "3"))
			w.wantSorted(w.T, "b 2", "b 3", "new kv.put 3")
		},
	}
	for name, f := range cases {
		bubble(t, name, func(t *testing.T) {
			w := world{t, &calls{}, newCluster()}
			f(w)
		})
	}
}

// A backend that does not take commits for a while costs nothing but that.
func TestProgressIsCommittedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, cl := &calls{}, newCluster()
		link := &noCommits{Backend: cl.Backend}
		link.refuse.Store(true)
		register := func(h *host, stuck string) {
			noError(t, h.Group("work", nil, func(g *realtime.Group) error {
				return g.OnKVChange(realtime.KVMatch{}, func(ctx context.Context, ev realtime.RenEvent) error {
					c.add(ev.Key)
					if ev.Key == stuck {
						<-ctx.Done()
					}
					return ctx.Err()
				})
			}))
		}
		a := start(t, open(), &realtime.Options{Backend: link})
		register(a, "0") // so that the floor stays before what is done
		for _, key := range []string{"0", "1", "2"} {
			a.emit(realtime.KVPut("demo", key))
		}
		c.wantSorted(t, "0", "1", "2")
		link.refuse.Store(false)
		time.Sleep(4 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = a.Close(ctx)
		b := start(t, open(), &realtime.Options{Backend: &noCommits{Backend: cl.Backend}})
		register(b, "")
		b.emit(realtime.KVPut("demo", "3"))
		c.wantSorted(t, "0", "3")
		if !strings.Contains(a.logs.String(), "cannot be committed") {
			t.Error("the failures were not logged")
		}
	})
}

// A backend that takes no commits is not asked after each event, and in the end
// gets no more than it needs.
func TestCommitsAreNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, link, release := &calls{}, &noCommits{Backend: realtime.NewMemory()}, make(chan struct{})
		link.refuse.Store(true)
		h := start(t, open(), &realtime.Options{Backend: link})
		noError(t, h.Group("work", nil, func(g *realtime.Group) error {
			return errors.Join(
				g.OnKVChange(realtime.KVMatch{Key: "slow"}, func(context.Context, realtime.RenEvent) error { <-release; return nil }),
				g.OnKVChange(realtime.KVMatch{Key: "a"}, c.handler("h")))
		}))
		h.emit(realtime.KVPut("demo", "slow"))
		for range 100 {
			h.emit(realtime.KVPut("demo", "a"))
			c.want(t, "h kv.put a")
		}
		if n := strings.Count(h.logs.String(), "cannot be committed"); n != 1 {
			t.Errorf("%d commits failed", n)
		}
		time.Sleep(4 * time.Second) // what is done behind the slow one is not taken, either
		close(release)
		link.refuse.Store(false)
		time.Sleep(4 * time.Second)
		if n := link.largest.Load(); n != 0 {
			t.Errorf("%d events were committed one by one that are all done", n)
		}
	})
}

type noCommits struct {
	backend.Backend
	refuse  atomic.Bool
	largest atomic.Int32 // commit that was taken
}

func (b *noCommits) CommitGroup(ctx context.Context, group, node string, p backend.Progress) error {
	if b.refuse.Load() {
		return errors.New("no commits now")
	}
	b.largest.Store(max(b.largest.Load(), int32(len(p.Done)+len(p.Failed))))
	return b.Backend.CommitGroup(ctx, group, node, p)
}

func (b *noCommits) Close(context.Context) error { return nil }

func TestHandlersMiss(t *testing.T) {
	bubble(t, "what was evicted before they came to it", func(t *testing.T) {
		c, release := &calls{}, make(chan struct{})
		h := start(t, open(), &realtime.Options{
			History:  realtime.History{Events: 10},
			Handlers: realtime.GroupOptions{Missed: func(e *realtime.ResetError) { c.add("missed " + e.Reason) }},
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
	})
	for reason, lose := range map[string]func(*backendtest.Faulty){
		"backend": func(f *backendtest.Faulty) { f.Skip(1) },
		"epoch":   func(f *backendtest.Faulty) { f.NewEpoch() },
	} {
		bubble(t, reason, func(t *testing.T) {
			c, f := &calls{}, backendtest.NewFaulty(realtime.NewMemory())
			h := start(t, open(), &realtime.Options{Backend: f, Handlers: realtime.GroupOptions{
				Missed: func(e *realtime.ResetError) { c.add("missed " + e.Reason) },
			}})
			noError(t, h.OnKVChange(realtime.KVMatch{}, c.handler("h")))
			h.emit(realtime.KVPut("demo", "1"))
			c.want(t, "h kv.put 1")
			lose(f)
			h.emit(realtime.KVPut("demo", "2"))
			h.emit(realtime.KVPut("demo", "3"))
			got := c.take()
			if len(got) == 0 || got[0] != "missed "+reason || !slices.Contains(got, "h kv.put 3") {
				t.Errorf("calls: %v", got)
			}
		})
	}
	bubble(t, "and the log tells where nobody else is told", func(t *testing.T) {
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
	})
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
		if p, err := b.ClaimGroup(t.Context(), "work", "other", time.Minute); err != nil || len(p.Done) > 10 {
			t.Errorf("%d are done behind one that is not; %v", len(p.Done), err)
		}
	})
}

// A handler that ends its goroutine, as t.FailNow does, has failed for good.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Handlers: realtime.GroupOptions{
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
