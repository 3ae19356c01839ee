package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// bare returns a Realtime without a server.
func bare(t *testing.T, opts *realtime.Options) *realtime.Realtime {
	t.Helper()
	var o realtime.Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	rt, err := realtime.New(realtime.Policy{}, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rt
}

// eventMatches are matches, and the events that they let through.
var eventMatches = []struct {
	match realtime.EventMatch
	want  string // indexes of what happens, m for the message, j for the join
}{
	{realtime.EventMatch{}, "0123456789mj"},
	{realtime.EventMatch{Resource: "*", Type: "*", Namespace: "*", Key: "*", Channel: "*"}, "0123456789mj"},
	{realtime.EventMatch{Resource: "kv"}, "012"},
	{realtime.EventMatch{Resource: "k?"}, "012"},
	{realtime.EventMatch{Resource: "nothing"}, ""},
	{realtime.EventMatch{Type: "*.deleted"}, "58"},
	{realtime.EventMatch{Type: "db.document.*"}, "345"},
	{realtime.EventMatch{Namespace: "demo"}, "01"},
	{realtime.EventMatch{Namespace: "{demo,todos}"}, "0134"},
	{realtime.EventMatch{Key: "todolist:*:item:*"}, "01"},
	{realtime.EventMatch{Key: "todolist:*"}, "012"},
	{realtime.EventMatch{Key: "photos/*"}, "67"},
	{realtime.EventMatch{Key: "*[1-2].png"}, "67"},
	{realtime.EventMatch{Resource: "db", Key: "2"}, "4"},
	{realtime.EventMatch{Resource: "custom", Namespace: "jobs", Type: "priority:high"}, "9"},
	{realtime.EventMatch{Channel: "room:42"}, "mj"},
	{realtime.EventMatch{Channel: "room:*", Resource: "realtime"}, "m"},
	{realtime.EventMatch{Channel: "room:42", Type: "presence.*"}, "j"},
	{realtime.EventMatch{Channel: "room:42", Resource: "kv"}, ""},
	{realtime.EventMatch{Channel: "room"}, ""},
}

func TestEventsMatch(t *testing.T) {
	happen := []realtime.RenEvent{
		realtime.KVPut("demo", "todolist:42:item:1"),
		realtime.KVDelete("demo", "todolist:42:item:1"),
		realtime.KVExpired("other", "todolist:42"),
		realtime.DocumentCreated("todos", "1"),
		realtime.DocumentUpdated("todos", "2"),
		realtime.DocumentDeleted("users", "3"),
		realtime.ObjectCreated("photos/1.png"),
		realtime.ObjectUpdated("photos/a/2.png"),
		realtime.ObjectDeleted("docs/3.pdf"),
		{Type: "priority:high", Resource: "custom", Namespace: "jobs", Key: "9"},
	}
	for _, c := range eventMatches {
		bubble(t, strings.ReplaceAll(fmt.Sprintf("%+v", c.match), "/", "|"), func(t *testing.T) {
			rt := bare(t, nil)
			after := rt.Cursor()
			var want []realtime.RenEvent
			ts := time.Now().UnixMilli()
			for i, ev := range happen {
				if err := rt.Emit(t.Context(), ev); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(c.want, fmt.Sprint(i)) {
					ev.UnixMilli = ts
					want = append(want, ev)
				}
			}
			if err := rt.Publish(t.Context(), "room:42", "hi", realtime.AsUser("bob")); err != nil {
				t.Fatal(err)
			}
			if err := rt.Presence().Join(t.Context(), "room:42", "ada", 1); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(c.want, "m") {
				want = append(want, realtime.RenEvent{Type: "realtime.message", Resource: "realtime", Channel: "room:42", Data: []byte(`"hi"`), User: "bob", UnixMilli: ts})
			}
			if strings.Contains(c.want, "j") {
				want = append(want, realtime.RenEvent{Type: "presence.join", Resource: "presence", Channel: "room:42", Data: []byte(`{"metadata":1}`), User: "ada", UnixMilli: ts})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var got []realtime.RenEvent
			var last error
			for ev, err := range rt.EventsAfter(ctx, c.match, after) {
				if last = err; err == nil {
					got = append(got, ev)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !errors.Is(last, context.DeadlineExceeded) {
				t.Errorf("the last error is %v, not that of the context", last)
			}
		})
	}
}

// A loop that was outrun is told so, once, and goes on.
func TestEventsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := bare(t, &realtime.Options{History: realtime.History{Events: 10}})
		emit := func(i int) {
			if err := rt.Emit(t.Context(), realtime.KVPut("n", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		after := rt.Cursor()
		for i := range 20 {
			emit(i)
		}
		n, resets := 20, 0
		var got []string
		for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{Resource: "kv"}, after) {
			var reset *realtime.ResetError
			switch {
			case errors.As(err, &reset):
				if resets++; reset.Reason != "evicted" {
					t.Errorf("reset: %v", reset)
				}
				emit(n) // what comes next is not lost
				n++
			case err != nil:
				t.Fatal(err)
			default:
				got = append(got, ev.Key)
				if len(got) == 1 { // a slow loop: it is outrun
					for range 30 {
						emit(n)
						n++
					}
				}
			}
			if len(got) == 2 {
				break
			}
		}
		if resets != 2 || strings.Join(got, " ") != "20 51" {
			t.Errorf("%d resets, events %v", resets, got)
		}
		if _, err := rt.WaitFor(t.Context(), realtime.EventMatch{}, "garbage"); !errors.As(err, new(*realtime.ResetError)) {
			t.Errorf("WaitFor after garbage: %v", err)
		}
	})
}

func TestWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := bare(t, nil)
		after := rt.Cursor()
		if err := rt.Publish(t.Context(), "room", map[string]int{"n": 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ev, err := rt.WaitFor(t.Context(), realtime.EventMatch{Channel: "room"}, after)
		if err != nil {
			t.Fatal(err)
		}
		if msg, err := realtime.Decode[struct{ N int }](ev); err != nil || msg.N != 1 {
			t.Errorf("%+v %v", msg, err)
		}
		if _, err := realtime.Decode[string](ev); err == nil {
			t.Error("an object was decoded as a string")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if ev, err := rt.WaitFor(ctx, realtime.EventMatch{Channel: "room"}, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a cursor, the past came: %+v %v", ev, err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := rt.WaitFor(ended, realtime.EventMatch{}, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// A loop begins after what its node has published before, although the log lags.
func TestEventsBeginWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		rt := bare(t, &realtime.Options{Backend: b})
		publish := func(n int) {
			if err := rt.Publish(t.Context(), "room", n); err != nil {
				t.Error(err)
			}
		}
		b.Hold()
		publish(1)
		go func() {
			time.Sleep(time.Second)
			publish(2)
			b.Release()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ev, err := rt.WaitFor(ctx, realtime.EventMatch{Channel: "room"}, "")
		if err != nil || string(ev.Data) != "2" {
			t.Errorf("the next event is %s, %v", ev.Data, err)
		}
		go func() {
			time.Sleep(time.Second)
			b.NewEpoch()
			publish(3)
		}()
		if ev, err := rt.WaitFor(ctx, realtime.EventMatch{Channel: "room"}, ""); !errors.As(err, new(*realtime.ResetError)) {
			t.Errorf("a log that begins again gives %s, %v", ev.Data, err)
		}
	})
}

// A publish inside a loop over events does not wait for the loop.
func TestPublishWithinEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := bare(t, &realtime.Options{History: realtime.History{Events: 8}})
		after := rt.Cursor()
		if err := rt.Publish(t.Context(), "room", 0); err != nil {
			t.Fatal(err)
		}
		n := 0
		for ev, err := range rt.EventsAfter(t.Context(), realtime.EventMatch{Channel: "room"}, after) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 500 {
				break
			}
			if err := rt.Publish(t.Context(), "room", n); err != nil {
				t.Fatal(err)
			}
			if err := rt.Presence().Join(t.Context(), "other", "ada", n); err != nil {
				t.Fatal(err)
			}
			if ev.Channel != "room" {
				t.Errorf("%+v", ev)
			}
		}
	})
}

func TestEventMatch(t *testing.T) {
	ev := realtime.KVPut("demo", "todo:1")
	for _, c := range []struct {
		match realtime.EventMatch
		want  bool
		err   error
	}{
		{realtime.EventMatch{}, true, nil},
		{realtime.EventMatch{Resource: "kv", Type: "kv.*", Namespace: "demo", Key: "todo:*"}, true, nil},
		{realtime.EventMatch{Resource: "db"}, false, nil},
		{realtime.EventMatch{Type: "kv.delete"}, false, nil},
		{realtime.EventMatch{Namespace: "other"}, false, nil},
		{realtime.EventMatch{Key: "todo:2"}, false, nil},
		{realtime.EventMatch{Channel: "room"}, false, nil},
		{realtime.EventMatch{Key: "[a"}, false, realtime.ErrBadPattern},
	} {
		if got, err := c.match.Match(ev); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%+v: %v, %v; want %v, %v", c.match, got, err, c.want, c.err)
		}
	}
}
