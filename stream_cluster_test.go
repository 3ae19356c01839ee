package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// clustered returns n nodes of the test kit, as hosts.
func clustered(t *testing.T, n int, policy realtime.Policy, opts *realtime.Options) (*realtimetest.Cluster, []*host) {
	o := realtimetest.Options{Realtime: *lasts(opts)}
	c := realtimetest.NewCluster(t, n, policy, &o)
	hosts := make([]*host, n)
	for i := range n {
		hosts[i] = hosted(t, c.Node(i))
	}
	return c, hosts
}

// lasts returns options with a history that outlasts the test.
func lasts(opts *realtime.Options) *realtime.Options {
	var o realtime.Options
	if opts != nil {
		o = *opts
	}
	if o.History.Age == 0 {
		o.History.Age = time.Hour
	}
	return &o
}

func hosted(t *testing.T, n *realtimetest.Node) *host {
	return &host{Realtime: n.Realtime, t: t, srv: n.Server, logs: logs{n.Server}, listener: n.Net, http: n.HTTPClient()}
}

// told is what the log says of growing messages, seen from a node.
func (h *host) told() (list []string) {
	h.t.Helper()
	time.Sleep(time.Second)
	page, err := h.History(context.Background(), "room", "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, ev := range page.Events {
		if ev.Key != "" {
			list = append(list, ev.Key+" "+ev.Version)
		}
	}
	return list
}

func (h *host) tells(want ...string) {
	h.t.Helper()
	if got := h.told(); fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Errorf("the log says %q, want %q", got, want)
	}
}

// Clients of all nodes have the same text, however they come, and the same end.
func TestStreamAcrossNodes(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 50, "large": 5000} { // of which the first piece has more than fits into one
		bubble(t, name, func(t *testing.T) {
			_, hosts := clustered(t, 3, open(), nil)
			s := hosts[0].stream("a1", realtime.AsUser("ada"))
			var readers []*growth
			text := ""
			for i := range size {
				token := fmt.Sprintf("wörd%d ", i)
				text += token
				say(t, s, token)
				if time.Sleep(12 * time.Millisecond); i%(size/6) == 1 {
					readers = append(readers, hosts[len(readers)%3].socket(get("/realtime")).reads("a1"))
				}
			}
			for _, r := range readers {
				r.want(text, "streaming")
			}
			hosts[1].socket(get("/realtime")).ok(stopOp("a1")) // from another node
			time.Sleep(time.Second)
			for _, r := range readers {
				r.want(text, "cancelled")
			}
			if err := context.Cause(s.Context()); err != realtime.ErrStopped {
				t.Errorf("the context ended with %v", err)
			}
			time.Sleep(5 * time.Minute)
			for _, h := range hosts {
				h.tells("a1 streaming", "a1 cancelled")
			}
		})
	}
}

// An id is of one open message, on whichever node, and can be used again after its end:
// with another run.
func TestStreamIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := clustered(t, 2, open(), &realtime.Options{Streams: realtime.StreamOptions{Channel: 2, Open: 3}})
		s := hosts[0].stream("a1")
		for _, h := range hosts {
			if _, err := h.Stream(t.Context(), "room", "a1"); !errors.Is(err, realtime.ErrStreamOpen) {
				t.Errorf("again: %v", err)
			}
		}
		say(t, s, "first")
		r := hosts[1].socket(get("/realtime")).reads("a1")
		noError(t, s.Close())
		r.want("first", "complete")
		s = hosts[1].stream("a1")
		say(t, s, "second")
		time.Sleep(time.Second)
		for _, h := range hosts {
			g := grow(t, h.socket(get("/realtime")).call(streamOp("a1")+fmt.Sprintf(`,"run":%q,"offset":5`, r.run)))
			if g.Offset != 0 || g.Text != "second" || g.Run == r.run {
				t.Errorf("of the next one: %+v", g)
			}
		}
		hosts[1].stream("a2")
		if _, err := hosts[1].Stream(t.Context(), "room", "a3"); !errors.Is(err, realtime.ErrTooMany) {
			t.Errorf("a third one in the channel: %v", err)
		}
		_, err := hosts[1].Stream(t.Context(), "other", "a3")
		noError(t, err)
		if _, err := hosts[1].Stream(t.Context(), "another", "a3"); !errors.Is(err, realtime.ErrTooMany) {
			t.Errorf("a fourth one: %v", err)
		}
	})
}

// When the node of a message dies, the others fail it within the lease, once, with what
// they know of it.
func TestStreamOfADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, hosts := clustered(t, 3, open(), nil)
		s := hosts[0].stream("a1")
		hosts[0].stream("a2") // which nobody follows
		say(t, s, "so far")
		near, far := hosts[1].socket(get("/realtime")).reads("a1"), hosts[2].socket(get("/realtime")).reads("a1")
		c.Node(0).Kill()
		time.Sleep(31 * time.Second)
		for _, r := range []*growth{near, far} {
			r.want("so far", "failed")
		}
		for _, h := range hosts[1:] {
			if got := fmt.Sprint(h.told()); strings.Count(got, "failed") != 2 || strings.Count(got, "streaming") != 2 {
				t.Errorf("the log says %s", got)
			}
			g := grow(t, h.socket(get("/realtime")).call(streamOp("a1")))
			if g.Text != "so far" || g.State != "failed" || g.Error == nil || g.Error.Code != "unavailable" || !*g.Error.Retry {
				t.Errorf("%+v", g)
			}
			if o := h.socket(get("/realtime")).call(stopOp("a1")); o.Event != "ok" {
				t.Errorf("stop: %s", o.raw)
			}
		}
		if _, err := s.Write([]byte("x")); err == nil {
			t.Error("the dead write")
		}
		hosts[1].stream("a1") // the id is free
		time.Sleep(5 * time.Minute)
		if got := fmt.Sprint(hosts[1].told()); strings.Count(got, "a1 failed") != 1 {
			t.Errorf("the log says %s", got)
		}
	})
}

// A node that stood still for too long finds out that its messages have failed, once.
func TestStreamOfANodeThatStoodStill(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(s *realtime.Stream) error{
		"it writes": func(s *realtime.Stream) error {
			_, err := s.Write([]byte("x"))
			return err
		},
		"it closes":       (*realtime.Stream).Close,
		"it fails":        func(s *realtime.Stream) error { return s.Fail(errors.New("x")) },
		"it did in vain":  nil,
		"it is looked at": func(s *realtime.Stream) error { return context.Cause(s.Context()) },
	} {
		bubble(t, name, func(t *testing.T) {
			c, hosts := clustered(t, 2, open(), nil)
			s := hosts[0].stream("a1")
			say(t, s, "so far")
			r := hosts[1].socket(get("/realtime")).reads("a1")
			c.Node(0).Pause()
			if act == nil {
				if err := s.Close(); !errors.Is(err, realtime.ErrTemporary) {
					t.Errorf("meanwhile: %v", err)
				}
			}
			time.Sleep(time.Minute)
			c.Node(0).Resume()
			time.Sleep(time.Minute)
			if act == nil { // it was on its way
				act = (*realtime.Stream).Close
			}
			if err := act(s); !errors.Is(err, realtime.ErrStreamEnded) && (name != "it fails" || err != nil) {
				t.Errorf("%v", err)
			}
			r.want("so far", "failed")
			for _, h := range hosts {
				h.tells("a1 streaming", "a1 failed")
			}
			time.Sleep(5 * time.Minute)
			hosts[1].tells("a1 streaming", "a1 failed")
		})
	}
}

// What nobody ends fails: when nothing is written for long, and when the server ends.
func TestStreamThatNobodyEnds(t *testing.T) {
	bubble(t, "idle", func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Streams: realtime.StreamOptions{Idle: time.Minute}})
		s := h.stream("a1")
		for range 10 {
			time.Sleep(50 * time.Second)
			say(t, s, "x")
		}
		r := h.socket(get("/realtime")).reads("a1")
		time.Sleep(59 * time.Second)
		noError(t, s.Context().Err())
		time.Sleep(5 * time.Second)
		r.want(strings.Repeat("x", 10), "failed")
		if err := s.Close(); !errors.Is(err, realtime.ErrStreamEnded) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "the server ends", func(t *testing.T) {
		_, hosts := clustered(t, 2, open(), nil)
		s := hosts[0].stream("a1")
		say(t, s, "x")
		near, far := hosts[0].socket(get("/realtime")).reads("a1"), hosts[1].socket(get("/realtime")).reads("a1")
		noError(t, hosts[0].Close(t.Context()))
		near.want("x", "failed")
		far.want("x", "failed")
		if _, err := s.Write([]byte("y")); err == nil {
			t.Error("a write after the end")
		}
		if err := s.Close(); !errors.Is(err, realtime.ErrStreamEnded) {
			t.Errorf("Close: %v", err)
		}
		if _, err := hosts[0].Stream(t.Context(), "room", "a2"); err != realtime.ErrClosed {
			t.Errorf("a new one: %v", err)
		}
		hosts[1].tells("a1 streaming", "a1 failed")
	})
	bubble(t, "the backend is gone", func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Backend: stuck{newCluster().link()}})
		s := h.stream("a1")
		if err := s.Close(); !errors.Is(err, realtime.ErrTemporary) {
			t.Errorf("Close: %v", err)
		}
		began := time.Now()
		_ = h.Realtime.Close(t.Context())
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the server ended after %v", took)
		}
		if err := s.Close(); !errors.Is(err, realtime.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
}

// When the engine is put back to an earlier state, open messages go on.
func TestStreamAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, hosts := clustered(t, 2, open(), nil)
		s := hosts[0].stream("a1")
		say(t, s, "before")
		r := hosts[1].socket(get("/realtime")).reads("a1")
		c.Log.NewEpoch()
		say(t, s, " after")
		hosts[0].publish("room", 1)
		time.Sleep(20 * time.Second)
		r.want("before after", "streaming")
		noError(t, s.Close())
		r.want("before after", "complete")
	})
}

// Growing messages take no room in the history, and nothing of the log of one node.
func TestStreamsEvictNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, hosts := clustered(t, 2, open(), small(realtime.History{Events: 100}))
		quiet := hosts[1].socket(get("/realtime"))
		quiet.ok(subscribe("quiet"))
		cursor := quiet.hello.Cursor
		quiet.drop()
		hosts[0].publish("quiet", "missed")
		var streams []*realtime.Stream
		for i := range 5 {
			s := hosts[0].stream(fmt.Sprint("a", i))
			streams = append(streams, s)
			hosts[1].socket(get("/realtime")).reads(fmt.Sprint("a", i))
		}
		for range 240 {
			time.Sleep(time.Second)
			for _, s := range streams {
				say(t, s, "token ")
			}
		}
		again := hosts[1].socket(get("/realtime"))
		if o := again.call(since("quiet", cursor)); o.State != "resumed" {
			t.Errorf("%s", o.raw)
		}
		if got := again.data(1); got != `"missed"` {
			t.Errorf("%s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := realtime.NewMemory()
		h := start(t, open(), &realtime.Options{Backend: b})
		s := h.stream("a1")
		r := h.socket(get("/realtime")).reads("a1")
		before, err := b.Read(t.Context(), backend.Position{}, 0)
		noError(t, err)
		for range 100 {
			say(t, s, "x")
			time.Sleep(time.Second)
		}
		r.want(strings.Repeat("x", 100), "streaming")
		after, err := b.Read(t.Context(), backend.Position{}, 0)
		noError(t, err)
		if alone, ok := b.(backend.SingleProcess); ok && alone.SingleProcess() && before.Head != after.Head {
			t.Errorf("the log went from %v to %v", before.Head, after.Head)
		}
	})
}

// Two tabs share a connection: each has the text, whichever asks again and when.
func TestStreamOnASharedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Channels: 2}})
		s := h.stream("a1")
		say(t, s, "one ")
		time.Sleep(time.Second)
		r := h.socket(get("/realtime")).reads("a1")
		say(t, s, "two ")
		time.Sleep(5 * time.Millisecond) // it is not told yet, perhaps
		ref := r.ask(streamOp("a1"))
		text := r.text
		for {
			o := r.socket.next()
			if g := grow(t, o); g.Ref != nil && *g.Ref == ref {
				if text != g.Text || g.Offset != 0 {
					t.Errorf("one tab has %q, the other one gets %q", text, g.Text)
				}
				break
			}
			text += grow(t, o).Text
		}
		for _, id := range []string{"a2", "a3"} {
			h.stream(id)
		}
		r.reads("a2")
		if o := r.call(streamOp("a3")); o.Code != "too_many" {
			t.Errorf("too many: %s", o.raw)
		}
		r.ok(`"op":"unstream","channel":"room","id":"a2"`, `"op":"unstream","channel":"room","id":"a9"`)
		r.socket.reads("a3")
	})
}

// A client that does not read gets larger pieces, and costs no more than others.
func TestStreamToASlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.stream("a1")
		r := h.socket(get("/realtime")).reads("a1")
		h.listener.Stall()
		text := strings.Repeat("token ", 30_000)
		for part := range 100 {
			say(t, s, text[part*len(text)/100:(part+1)*len(text)/100])
			time.Sleep(50 * time.Millisecond)
		}
		h.listener.Resume()
		time.Sleep(time.Second)
		r.want(text, "streaming")
		if r.frames > 60 {
			t.Errorf("%d frames", r.frames)
		}
	})
}
