package realtimetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// list is what a client has received of a channel.
type list struct {
	mu   sync.Mutex
	data []string
}

// follow follows a channel until the test ends.
func (l *list) follow(t *testing.T, rt *client.Realtime) {
	ctx, cancel := context.WithCancel(context.Background())
	var gone sync.WaitGroup
	t.Cleanup(func() { cancel(); gone.Wait() })
	messages := rt.Subscribe(ctx, "room")
	gone.Go(func() {
		for msg, err := range messages {
			l.mu.Lock()
			l.data = append(l.data, string(msg.Data))
			if err != nil {
				l.data = append(l.data, fmt.Sprint(err))
			}
			l.mu.Unlock()
		}
	})
	synctest.Wait()
}

func (l *list) String() string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.data, " ")
}

func (l *list) want(t *testing.T, want string) {
	t.Helper()
	if got := l.String(); got != want {
		t.Errorf("the client has %s, want %s", got, want)
	}
}

func publish(t *testing.T, n *realtimetest.Node, data int) {
	t.Helper()
	if err := n.Realtime.Publish(t.Context(), "room", data); err != nil {
		t.Errorf("publish %d: %v", data, err)
	}
}

func TestCluster(t *testing.T) {
	bubble(t, "a killed node", clusterOfAKilledNode)
	bubble(t, "a node that stands still, and wakes after it was given up", clusterOfANodeThatStandsStill)
	bubble(t, "a node that is cut off from the engine", clusterOfANodeThatIsCutOff)
	bubble(t, "what was missed for longer than the log goes back is told", clusterThatMissedTooMuch)
	bubble(t, "the load balancer", clusterLoadBalancer)
	bubble(t, "the engine's faults concern all nodes", clusterOfAFaultyEngine)
	bubble(t, "handlers run once, also where their node dies", clusterHandlers)
	t.Run("outside of a bubble", clusterOutsideOfABubble)
}

func clusterOfAKilledNode(t *testing.T) {
	c := realtimetest.NewCluster(t, 3, realtime.AllowAll(), nil)
	rt, l := c.Connect(nil), &list{}
	l.follow(t, rt)
	own := c.Node(0).Connect(nil)
	must(t, own.Presence("room").Join(t.Context(), "ada", nil))
	roster := c.Node(2).Record(realtime.EventMatch{Resource: "presence"})
	publish(t, c.Node(0), 1)
	l.want(t, "1")
	c.Node(0).Kill()
	publish(t, c.Node(1), 2)
	time.Sleep(20 * time.Second)
	publish(t, c.Node(2), 3)
	l.want(t, "1 2 3")
	roster.None()
	time.Sleep(20 * time.Second)
	if ev := roster.Next(); ev.Type != "presence.leave" || !strings.Contains(string(ev.Data), `"node"`) {
		t.Errorf("after the lease came %+v", ev)
	}
	time.Sleep(10 * time.Minute)
	roster.None()
	if err := c.Node(0).Realtime.Publish(t.Context(), "room", 4); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("a dead node published: %v", err)
	}
	if conns := c.Node(0).Net.Conns(); len(conns) != 0 {
		t.Errorf("a dead node has %d connections", len(conns))
	}

	c.Node(0).Start()
	publish(t, c.Node(0), 5)
	l.want(t, "1 2 3 5")
	time.Sleep(20 * time.Second)
	if ev := roster.Next(); ev.Type != "presence.join" { // of the client that has no other node
		t.Errorf("after the start came %+v", ev)
	}
	c.Node(0).Kill() // and once more
	c.Node(0).Start()
	publish(t, c.Node(0), 6)
	l.want(t, "1 2 3 5 6")
}

func clusterOfANodeThatStandsStill(t *testing.T) {
	c := realtimetest.NewCluster(t, 2, realtime.AllowAll(), nil)
	own, l := c.Node(0).Connect(nil), &list{}
	l.follow(t, own)
	must(t, own.Presence("room").Join(t.Context(), "ada", nil))
	roster := c.Node(1).Record(realtime.EventMatch{Resource: "presence"})
	c.Node(0).Pause()
	var published atomic.Bool
	go func() {
		err := c.Node(0).Realtime.Publish(context.Background(), "room", 1)
		published.Store(errors.Is(err, realtime.ErrMaybeStored))
	}()
	publish(t, c.Node(1), 2)
	l.want(t, "")
	time.Sleep(40 * time.Second)
	roster.Expect(realtime.EventMatch{Type: "presence.leave"})
	if !published.Load() {
		t.Error("what a node published that stands still is not unknown")
	}
	c.Node(0).Resume()
	time.Sleep(2 * time.Minute)
	l.want(t, "2 1") // the late one arrives late
	roster.Expect(realtime.EventMatch{Type: "presence.join"})
	roster.None()
}

func clusterOfANodeThatIsCutOff(t *testing.T) {
	c := realtimetest.NewCluster(t, 2, realtime.AllowAll(), nil)
	rt, l := c.Connect(nil), &list{}
	l.follow(t, rt)
	c.Node(0).Cut()
	if err := c.Node(0).Realtime.Health(t.Context()); err == nil {
		t.Error("it is healthy")
	}
	if err := c.Node(0).Realtime.Publish(t.Context(), "room", 1); !errors.Is(err, realtime.ErrMaybeStored) {
		t.Errorf("it published: %v", err)
	}
	publish(t, c.Node(1), 2)
	time.Sleep(time.Minute)
	l.want(t, "")
	c.Node(0).Heal()
	time.Sleep(5 * time.Second)
	l.want(t, "2") // the first was lost, and is not late
	if err := c.Node(0).Realtime.Health(t.Context()); err != nil {
		t.Errorf("it is not healthy after that: %v", err)
	}
}

func clusterThatMissedTooMuch(t *testing.T) {
	c := realtimetest.NewCluster(t, 2, realtime.AllowAll(), &realtimetest.Options{
		Realtime: realtime.Options{History: realtime.History{Events: 10}},
	})
	rec := c.Node(0).Record(realtime.EventMatch{Channel: "room"})
	c.Node(0).Cut()
	for i := range 20 {
		publish(t, c.Node(1), i)
	}
	c.Node(0).Heal()
	rec.Expect(realtimetest.Reset(""))
}

func clusterLoadBalancer(t *testing.T) {
	c := realtimetest.NewCluster(t, 3, realtime.AllowAll(), nil)
	served := func() (n [3]int) {
		for i := range 3 {
			n[i] = len(c.Node(i).Net.Conns())
		}
		return n
	}
	for range 6 {
		c.Connect(nil)
	}
	if got := served(); got != [3]int{2, 2, 2} {
		t.Errorf("connections are %v", got)
	}
	c.Node(0).Kill()
	c.Node(1).Cut()
	time.Sleep(20 * time.Second)
	if got := served(); got != [3]int{0, 2, 4} {
		t.Errorf("connections are %v after a kill and a cut", got)
	}
	c.Node(2).Pause()
	if _, err := c.HTTPClient().Get(c.URL + "/realtime.js"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a node: %v", err)
	}
	c.Node(1).Heal()
	resp, err := c.HTTPClient().Get(c.URL + "/realtime.js")
	must(t, err)
	resp.Body.Close()
}

func clusterOfAFaultyEngine(t *testing.T) {
	c := realtimetest.NewCluster(t, 2, realtime.AllowAll(), nil)
	a, b := c.Node(0).Record(realtime.EventMatch{}), c.Node(1).Record(realtime.EventMatch{})
	publish(t, c.Node(0), 1)
	a.Expect(realtime.EventMatch{})
	b.Expect(realtime.EventMatch{})
	c.Log.LoseTail(1)
	time.Sleep(time.Second)
	publish(t, c.Node(1), 2)
	for _, rec := range []*realtimetest.Recorder{a, b} {
		rec.Expect(realtimetest.Reset("epoch"), realtime.EventMatch{Channel: "room"})
		rec.None()
	}
}

func clusterHandlers(t *testing.T) {
	c := realtimetest.NewCluster(t, 3, realtime.Policy{}, nil)
	var calls [3]atomic.Int32
	for i := range 3 {
		must(t, c.Node(i).Realtime.Group("mail", nil, func(g *realtime.Group) error {
			return g.OnChannel(realtime.ChannelMatch{}, func(context.Context, realtime.RenEvent) error {
				calls[i].Add(1)
				return nil
			})
		}))
	}
	total := func() (n int32, holder int) {
		synctest.Wait()
		for i := range 3 {
			if n += calls[i].Load(); calls[i].Load() > calls[holder].Load() {
				holder = i
			}
		}
		return n, holder
	}
	time.Sleep(time.Minute)
	publish(t, c.Node(0), 1)
	n, holder := total()
	if n != 1 {
		t.Fatalf("handled %d times", n)
	}
	time.Sleep(time.Minute)
	c.Node(holder).Kill()
	publish(t, c.Node((holder+1)%3), 2)
	time.Sleep(30 * time.Second)
	if n, _ := total(); n != 2 || calls[holder].Load() != 1 {
		t.Errorf("handled %d times after the node died, of which %d there", n, calls[holder].Load())
	}
}

func clusterOutsideOfABubble(t *testing.T) {
	c := realtimetest.NewCluster(t, 2, realtime.AllowAll(), nil)
	rec := c.Node(1).Record(realtime.EventMatch{Channel: "room"})
	publish(t, c.Node(0), 1)
	rec.Expect(realtime.EventMatch{})
	c.Node(0).Kill()
	c.Node(0).Start()
	publish(t, c.Node(0), 2)
	rec.Expect(realtime.EventMatch{})
}

// Whatever state the test leaves the nodes in, nothing of them runs when it has ended,
// and no virtual time passes for that but what clients are given to hear of it.
func TestClusterEnds(t *testing.T) {
	for name, do := range map[string]func(*realtimetest.Node){
		"as it was": func(*realtimetest.Node) {},
		"killed":    (*realtimetest.Node).Kill,
		"paused":    (*realtimetest.Node).Pause,
		"cut off":   (*realtimetest.Node).Cut,
		"paused and killed": func(n *realtimetest.Node) {
			n.Pause()
			n.Kill()
		},
		"killed twice, then healed": func(n *realtimetest.Node) {
			n.Kill()
			n.Kill()
			n.Resume()
			n.Heal()
		},
	} {
		bubble(t, name, func(t *testing.T) {
			c := realtimetest.NewCluster(t, 2, realtime.AllowAll(), nil)
			c.Node(0).Connect(nil)
			c.Node(1).Record(realtime.EventMatch{})
			go func() { _ = c.Node(0).Realtime.Publish(context.Background(), "room", 1) }()
			synctest.Wait()
			do(c.Node(0))
			go func() { _ = c.Node(0).Realtime.Publish(context.Background(), "room", 2) }()
		})
	}
}

// A node that was not killed cannot be started.
func TestStartOfARunningNode(t *testing.T) {
	bubble(t, "fails the test", func(t *testing.T) {
		f := &ending{fake: fake{T: t}}
		said := f.during(func() { realtimetest.NewCluster(f, 1, realtime.Policy{}, nil).Node(0).Start() })
		f.end()
		if !strings.Contains(said, "node 0 was not killed") {
			t.Errorf("the test says %q", said)
		}
	})
}

// The names of nodes tell their logs apart.
func TestLogsOfNodes(t *testing.T) {
	bubble(t, "of a test that fails", func(t *testing.T) {
		f := &ending{fake: fake{T: t, failed: true}}
		realtimetest.NewCluster(f, 2, realtime.AllowAll(), nil)
		f.end()
		if !strings.Contains(f.logged, "node 0's log:") || !strings.Contains(f.logged, "node 1's log:") {
			t.Errorf("logged %q", f.logged)
		}
	})
}

// An engine of the host's is used.
func TestClusterOverAnEngine(t *testing.T) {
	bubble(t, "that is no faulty one", func(t *testing.T) {
		engine := memory.New(memory.Limits{})
		c := realtimetest.NewCluster(t, 2, realtime.Policy{}, &realtimetest.Options{Realtime: realtime.Options{Backend: engine}})
		publish(t, c.Node(0), 1)
		if c.Log != nil {
			t.Error("the log has faults")
		}
		if page, err := engine.Read(t.Context(), backend.Position{}, 10); err != nil || len(page.Records) != 1 {
			t.Errorf("the engine has %v, %v", page, err)
		}
	})
}
