package realtime_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

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
