package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
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
func (c *calls) handler(name string) realtime.EventHandler {
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
	bubble(t, "channels", matchChannels)
	bubble(t, "presence of any channels", matchPresence)
	bubble(t, "the type of data", matchTypeData)
	bubble(t, "data", matchData)
}

func matchChannels(t *testing.T) {
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
}

func matchPresence(t *testing.T) {
	h, c := start(t, open(), nil), &calls{}
	var want []string
	for _, pattern := range []string{"", "*", "*:1", "h*", "huddle:?", "huddle:1"} {
		noError(t, h.OnChannel(realtime.ChannelMatch{Channel: pattern, Type: "presence"}, c.handler(pattern)))
		want = append(want, strings.TrimSpace(pattern+" presence.join huddle:1"))
	}
	h.join("huddle:1", "ada", nil)
	c.want(t, want...)
}

func matchTypeData(t *testing.T) {
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
}

func matchData(t *testing.T) {
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
		{realtime.RenEvent{Resource: "db", Namespace: "users", Key: "ada", Type: "db.document.archived"}, []string{"db db.document.archived ada"}},
		{realtime.RenEvent{Resource: "custom", Namespace: "jobs", Type: "priority:high"}, []string{"custom priority:high"}},
		{realtime.RenEvent{Resource: "custom", Namespace: "jobs", Type: "priority:low"}, nil},
		{realtime.RenEvent{Resource: "other", Namespace: "jobs", Type: "priority:high"}, nil},
	} {
		h.emit(step.ev)
		c.want(t, step.want...)
	}
}

// TestIndexAgreesWithAsking finds by index what asking every rule finds.
func TestIndexAgreesWithAsking(t *testing.T) {
	t.Parallel()
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
			noError(t, h.OnEvent(m, func(context.Context, realtime.RenEvent) error { c.add(fmt.Sprint(i)); return nil }))
		}
		name := func() string { return pick("a", "b", "ab", "abc", "abcd", "xb", "x") }
		for range 200 {
			ev := realtime.RenEvent{Resource: name(), Type: name(), Namespace: name(), Key: name()}
			h.emit(ev)
			var want []string
			for i, m := range matches {
				if ok, err := m.Match(ev); err != nil {
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
		"event pattern":    {h.OnEvent(realtime.EventMatch{Type: "a*b*c*d*e"}, nothing), realtime.ErrBadPattern},
		"no name":          {group("", nil), realtime.ErrBadGroup},
		"reserved name":    {group("$process", nil), realtime.ErrBadGroup},
		"name in use":      {group("taken", nil), realtime.ErrBadGroup},
		"register's error": {h.Group("new", nil, func(*realtime.Group) error { return other }), other},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", name, test.err, test.want)
		}
	}
	if err := h.OnChannel(realtime.ChannelMatch{}, nil); err == nil {
		t.Error("no handler was taken for one")
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

func TestHandlersRunInOrderAndParallel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{Concurrency: 4}})
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
	t.Parallel()
	bubble(t, "a loop stops", causeALoop)
	bubble(t, "a loop through presence and data stops", causeALoopThroughPresence)
	bubble(t, "without the mark of a client", causeWithoutAClient)
	bubble(t, "a delivery has a name", causeWithADelivery)
}

func causeALoop(t *testing.T) {
	c, n := &calls{}, 0
	h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{
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
}

func causeALoopThroughPresence(t *testing.T) {
	c := &calls{}
	h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{
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
}

func causeWithoutAClient(t *testing.T) {
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
}

func causeWithADelivery(t *testing.T) {
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
}

func TestCloseDrainsHandlers(t *testing.T) {
	bubble(t, "all that was accepted is handled", func(t *testing.T) {
		c := &calls{}
		h := start(t, open(), &realtime.Options{Groups: realtime.GroupOptions{Backoff: 100 * time.Millisecond}}) // in time for Close
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
