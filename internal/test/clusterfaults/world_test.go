package clusterfaults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

const (
	nodeCount = 3
	lobby     = "lobby" // where users are present

	// The leases of the library.
	nodeLease = 30 * time.Second
)

var channels = []string{"work:1", "work:2", "chat:1"} // the group handles those of work:*

// world is a cluster that runs, with all who use it.
type world struct {
	t      *testing.T
	engine *engine
	random *rand.Rand // of the faults

	followers []*follower
	acting    sync.WaitGroup // of publishers and of those who come and go
	busy      atomic.Uint64  // the greatest factor of pace so far, in thousandths

	mu      sync.Mutex
	nodes   []*node // by slot
	all     []*node // that there ever were
	paused  map[*node]bool
	sent    []*sent
	faults  []*fault
	healing []time.Duration // from the end of a fault to delivery
	watched []time.Duration // until Health was red
	revoked int             // users
}

// sent is one call of Publish.
type sent struct {
	id      int
	channel string
	node    *node
	began   time.Time
	ended   time.Time
	acked   bool          // it returned nil
	unknown bool          // it returned ErrMaybeStored, or its node was gone
	took    time.Duration // as the node measured it
}

// fault is one that was made.
type fault struct {
	kind       string
	node       *node // nil: of the engine
	began, end time.Time
	forgets    bool // the engine is in an earlier state afterwards, or says that it may be

	recorded []string // the users of the node that the engine knew of when it was killed
}

// newWorld starts a cluster, and so many clients.
func newWorld(t *testing.T, e *engine, seed uint64, clients int) *world {
	w := &world{t: t, engine: e, random: rand.New(rand.NewPCG(seed, 1)), paused: make(map[*node]bool)}
	var starting sync.WaitGroup
	w.nodes = make([]*node, nodeCount)
	for slot := range w.nodes {
		starting.Go(func() { w.replace(slot) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i := range clients {
		f := &follower{name: fmt.Sprint("ren", i), user: fmt.Sprint("w", i), kind: "REN", dial: w.dial}
		if i%2 == 1 {
			f.name, f.kind = fmt.Sprint("ws", i), "WS"
		}
		w.follow(f)
	}
	for _, f := range w.followers {
		within(t, patience, f.name+" is greeted", f.open.Load)
		if f.rt != nil {
			ctx, cancel := pace.WithTimeout(t.Context(), patience)
			if err := f.rt.Presence(lobby).Join(ctx, "", nil); err != nil {
				t.Fatalf("%s does not join: %v", f.name, err)
			}
			cancel()
		}
	}
	return w
}

func (w *world) follow(f *follower) {
	f.start(channels)
	w.t.Cleanup(f.end)
	w.followers = append(w.followers, f)
}

// replace starts a node in a slot, whose users its host joins.
func (w *world) replace(slot int) {
	w.mu.Lock()
	number := len(w.all)
	w.all = append(w.all, nil)
	w.mu.Unlock()
	var proxies []*faultproxy.Proxy
	var addrs []string
	for _, addr := range w.engine.proxied {
		p := faultproxy.New(w.t, addr)
		proxies, addrs = append(proxies, p), append(addrs, p.Addr)
	}
	n := startNode(w.t, number, w.engine.config(addrs), proxies)
	for i := range 3 {
		n.users = append(n.users, fmt.Sprintf("s%d.%d", number, i))
	}
	w.mu.Lock()
	w.nodes[slot], w.all[number] = n, n
	w.mu.Unlock()
	for _, user := range n.users {
		within(w.t, patience, "a host joins its user", func() bool { return n.ok(w.t.Context(), "join", ask{Channel: lobby, User: user}) })
	}
}

// node returns the node in a slot, or nil.
func (w *world) node(slot int) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[slot]
}

// routable returns the nodes that a load balancer would send clients to.
func (w *world) routable() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return n == nil || w.paused[n] })
}

func (w *world) anyNode() *node {
	list := w.routable()
	if len(list) == 0 {
		return nil
	}
	return list[rand.IntN(len(list))]
}

var errNoNode = errors.New("no node serves")

func (w *world) dial(ctx context.Context, f *follower) (net.Conn, error) {
	n := w.anyNode()
	if n == nil {
		return nil, errNoNode
	}
	f.node.Store(n)
	return (&net.Dialer{}).DialContext(ctx, "tcp", n.addr)
}

// dialOnly connects to one node.
func dialOnly(n *node) func(context.Context, *follower) (net.Conn, error) {
	return func(ctx context.Context, f *follower) (net.Conn, error) {
		f.node.Store(n)
		return (&net.Dialer{}).DialContext(ctx, "tcp", n.addr)
	}
}

// publish calls Publish at a node, once.
func (w *world) publish(ctx context.Context, n *node, channel string) *sent {
	w.mu.Lock()
	s := &sent{id: len(w.sent) + 1, channel: channel, node: n, began: time.Now()}
	w.sent = append(w.sent, s)
	w.mu.Unlock()
	a, err := n.call(ctx, "publish", ask{Channel: channel, ID: s.id})
	w.mu.Lock()
	defer w.mu.Unlock()
	s.ended, s.took = time.Now(), a.Took
	s.acked = err == nil && a.Error == ""
	s.unknown = err != nil || a.Unknown
	return s
}

// act publishes, and has users come and go, until ctx ends.
func (w *world) act(ctx context.Context) {
	for range 3 {
		w.acting.Go(func() {
			for ctx.Err() == nil {
				w.slow(0)
				if n := w.anyNode(); n != nil {
					w.publish(context.WithoutCancel(ctx), n, channels[rand.IntN(len(channels))])
				}
				rest(ctx, 10*time.Millisecond)
			}
		})
	}
	for i := range 6 {
		w.acting.Go(func() { w.comeAndGo(ctx, fmt.Sprint("c", i)) })
	}
}

// slow returns how long what usually takes d may take where the machine is as busy as
// it was at its worst in this run.
func (w *world) slow(d time.Duration) time.Duration {
	now := uint64(1000 * pace.Factor())
	for {
		worst := w.busy.Load()
		if now <= worst || w.busy.CompareAndSwap(worst, now) {
			return d * time.Duration(max(now, worst)) / 1000
		}
	}
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// comeAndGo joins a user at one node after the other, and leaves there again. Where a
// node dies with the user, its lease ends the membership, unless the user has come
// back elsewhere.
func (w *world) comeAndGo(ctx context.Context, user string) {
	q := ask{Channel: lobby, User: user, Client: "client-of-" + user + "-0123456789"}
	surely := func(n *node, what string) {
		for n.alive() && !n.ok(context.WithoutCancel(ctx), what, q) {
			rest(context.WithoutCancel(ctx), 50*time.Millisecond)
		}
	}
	for ctx.Err() == nil {
		n := w.anyNode()
		if n == nil {
			rest(ctx, 50*time.Millisecond)
			continue
		}
		surely(n, "join")
		rest(ctx, rand.N(300*time.Millisecond))
		surely(n, "leave")
		rest(ctx, rand.N(300*time.Millisecond))
	}
}

// alive reports whether a node was not killed.
func (n *node) alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.killed.IsZero()
}

// delivering waits until a message that is published now reaches every client of the
// given ones that is connected to a node that serves, and returns how long that took.
func (w *world) delivering(views func() []*view) time.Duration {
	w.t.Helper()
	began := time.Now()
	var probes []*sent
	within(w.t, 3*patience, "all clients get what is published", func() bool {
		n := w.anyNode()
		if n == nil {
			return false
		}
		s := w.publish(w.t.Context(), n, channels[0])
		if s.acked {
			probes = append(probes, s)
		}
		rest(w.t.Context(), 50*time.Millisecond)
		return slices.ContainsFunc(probes, func(s *sent) bool {
			return !slices.ContainsFunc(views(), func(v *view) bool { return !v.has(s.id) })
		})
	})
	return time.Since(began)
}

// served are the views with the channel of probes of clients whose node serves.
func (w *world) served() (list []*view) {
	serving := w.routable()
	for _, f := range w.followers {
		if slices.Contains(serving, f.node.Load()) {
			list = append(list, f.views[0])
		}
	}
	return list
}

// present are the users that should be there when all faults are mended.
func (w *world) present() (users []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		users = append(users, n.users...)
	}
	for _, f := range w.followers {
		if f.rt != nil {
			users = append(users, f.user)
		}
	}
	slices.Sort(users)
	return users
}

// settle waits until all faults have passed: each client gets what is published, and
// all nodes agree on who is present.
func (w *world) settle() {
	w.t.Helper()
	for _, f := range w.followers {
		within(w.t, 2*patience, f.name+" is connected", f.open.Load)
	}
	w.healing = append(w.healing, w.delivering(func() (list []*view) {
		for _, f := range w.followers {
			list = append(list, f.views[0])
		}
		return list
	}))
	want := w.present()
	for slot := range nodeCount {
		var a answer
		if !pace.Poll(2*nodeLease+patience, 200*time.Millisecond, func() bool {
			var err error
			a, err = w.node(slot).call(w.t.Context(), "members", ask{Channel: lobby})
			return err == nil && slices.Equal(a.Members, want)
		}) {
			w.t.Errorf("the members are at node %d %v, should be %v", w.node(slot).number, a.Members, want)
		}
	}
}

// conclude publishes the last messages, and ends the clients when they have them.
func (w *world) conclude() {
	w.t.Helper()
	for _, ch := range channels {
		s := w.publish(w.t.Context(), w.node(0), ch)
		if !s.acked {
			w.t.Fatalf("the last message to %s is not accepted", ch)
		}
		for _, f := range w.followers {
			for _, v := range f.views {
				if slices.Contains(v.channels, ch) {
					within(w.t, patience, v.name+" has the last message", func() bool { return v.has(s.id) })
				}
			}
		}
	}
	for _, f := range w.followers {
		f.end()
	}
}
