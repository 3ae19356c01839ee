package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// bare returns a Realtime without a server.
func bare(t *testing.T, opts *realtime.Options) *realtime.Realtime {
	t.Helper()
	rt, err := realtime.New(realtime.Policy{}, opts)
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

// A caller may reuse its slice after Publish or Emit has returned.
func TestPublishedDataIsACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := bare(t, nil)
		after := rt.Cursor()
		data := []byte(`{ "a" : 1 }`)
		if err := rt.Emit(t.Context(), realtime.RenEvent{Type: "x", Resource: "custom", Data: data}); err != nil {
			t.Fatal(err)
		}
		copy(data, "xxxxxxxxxxx")
		ev, err := rt.WaitFor(t.Context(), realtime.EventMatch{}, after)
		if err != nil || string(ev.Data) != `{"a":1}` {
			t.Errorf("%s %v", ev.Data, err)
		}
	})
}

func TestWithID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren"))
		h.publish("room", 1, realtime.WithID("a"))
		h.publish("room", 2, realtime.WithID("a"))
		h.emit(realtime.KVPut("n", "k"), realtime.WithID("a"))
		h.publish("room", 3, realtime.WithID("b"))
		time.Sleep(2*time.Minute + 1)
		h.publish("room", 4, realtime.WithID("a"))
		if got := s.keys(3); got != "1 3 4" {
			t.Error(got)
		}
		s.nothing()
	})
}

func TestChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		list := func() string {
			t.Helper()
			names, err := h.Channels(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(names, " ")
		}
		if got := list(); got != "" {
			t.Errorf("at first: %s", got)
		}
		s := h.socket(get("/realtime"))
		s.ok(subscribe("followed"), subscribe("all"))
		h.publish("published", 1)
		h.publish("all", 1)
		h.join("members", "ada", nil)
		h.join("all", "ada", nil)
		h.emit(realtime.KVPut("n", "no channel"))
		synctest.Wait()
		if got := list(); got != "all followed members published" {
			t.Errorf("now: %s", got)
		}
		for range 4 {
			time.Sleep(80 * time.Second)
			h.join("members", "ada", nil)
			h.join("all", "ada", nil)
		}
		if got := list(); got != "all followed members" {
			t.Errorf("5 min later: %s", got)
		}
		s.answer(s.ask(`"op":"unsubscribe","channel":"followed"`))
		time.Sleep(8 * time.Minute)
		if got := list(); got != "all" {
			t.Errorf("in the end: %s", got)
		}
	})
}

// library is host code that can be tested against anything smaller.
type library struct {
	realtime.Publisher
	realtime.Joiner
	realtime.Leaver
	realtime.MemberLister
}

func TestInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := bare(t, nil)
		after := rt.Cursor()
		lib := library{rt, rt.Presence(), rt.Presence(), rt.Presence()}
		if err := lib.Publish(t.Context(), "room", 1); err != nil {
			t.Error(err)
		}
		if err := lib.Join(t.Context(), "room", "ada", nil); err != nil {
			t.Error(err)
		}
		if m, err := lib.Members(t.Context(), "room"); err != nil || len(m) != 1 || m[0].Metadata != nil {
			t.Errorf("%+v %v", m, err)
		}
		if err := lib.Leave(t.Context(), "room", "ada"); err != nil {
			t.Error(err)
		}
		if _, err := rt.WaitFor(t.Context(), realtime.EventMatch{Type: "presence.leave"}, after); err != nil {
			t.Error(err)
		}
	})
}

// Attribute labels by the header, and what comes between a fetch and the stream
// that is opened after it is not missed.
func TestAttribute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		streams := h.handler
		mux := http.NewServeMux()
		mux.Handle("/ren", streams)
		mux.HandleFunc("/data", func(w http.ResponseWriter, r *http.Request) {
			// another one writes just after this one has read
			h.emit(realtime.KVPut("n", "in between"))
			fmt.Fprint(w, "old data")
		})
		mux.HandleFunc("/act", func(w http.ResponseWriter, r *http.Request) {
			if err := errors.Join(h.Publish(r.Context(), "room", 1), h.Presence().Join(r.Context(), "room", "ada", nil),
				h.Emit(r.Context(), realtime.KVPut("n", "k")), h.Emit(r.Context(), realtime.KVPut("n", "k"), realtime.FromClient(tab2))); err != nil {
				t.Error(err)
			}
		})
		h.handler = h.Attribute(mux)
		h.serve()
		resp := h.do(t.Context(), get("/data"))
		resp.Body.Close()
		s := h.ren(get("/ren?lastEventId=" + resp.Header.Get("X-Ren-Cursor")))
		if got := s.keys(1); s.hello.State != "resumed" || got != "in between" {
			t.Errorf("%s, then %s", s.hello.Raw, got)
		}
		resp = h.do(t.Context(), get("/act", "X-Ren-Client", tab1))
		resp.Body.Close()
		for i, want := range []string{tab1, tab1, tab1, tab2} {
			if ev := s.next(); ev.Source != wire.Tag(want) {
				t.Errorf("event %d: %s", i, ev.Raw)
			}
		}
		s.nothing()
	})
}

// Attribute hides nothing of the ResponseWriter.
func TestAttributeKeepsTheWriter(t *testing.T) {
	rt := bare(t, nil)
	rec := httptest.NewRecorder()
	rt.Attribute(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if w != http.ResponseWriter(rec) {
			t.Errorf("the writer is wrapped in a %T", w)
		}
	})).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
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

// A channel that is followed on one node is listed on all nodes.
func TestChannelsOfSeveralNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := realtimetest.NewCluster(t, 3, realtime.AllowAll(), nil)
		want := func(when, want string) {
			t.Helper()
			for i := range 3 {
				if names, err := c.Node(i).Realtime.Channels(t.Context()); err != nil || strings.Join(names, " ") != want {
					t.Errorf("%s, node %d: %q, %v; want %s", when, i, names, err, want)
				}
			}
		}
		follow := func(node int, channel string) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			rt := c.Node(node).Connect(nil)
			var gone sync.WaitGroup
			messages := rt.Subscribe(ctx, channel)
			gone.Go(func() {
				for range messages {
				}
			})
			synctest.Wait()
			return func() { cancel(); gone.Wait() }
		}
		want("at first", "")
		stop := []func(){follow(0, "a"), follow(1, "b"), follow(1, "both"), follow(2, "both")}
		if err := c.Node(2).Realtime.Publish(t.Context(), "published", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		want("soon after", "a b both published")
		stop[1]()
		stop[2]()
		time.Sleep(10 * time.Minute)
		want("later", "a both")
		c.Node(2).Kill()
		time.Sleep(30 * time.Second)
		if names, err := c.Node(1).Realtime.Channels(t.Context()); err != nil || strings.Join(names, " ") != "a" {
			t.Errorf("after a node has died: %q, %v", names, err)
		}
		stop[0]()
		stop[3]()
	})
}
