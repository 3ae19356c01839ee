package clusterfaults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// The kinds of faults.
const (
	killNode    = "kill -9 of a node"
	pauseNode   = "SIGSTOP of a node for longer than its lease"
	cutNode     = "RST between a node and the engine"
	silenceNode = "a black hole between a node and the engine"
	killPrimary = "kill -9 of the engine's first server"
	killOther   = "kill -9 of another server of the engine"
	failover    = "kill -9 of the master, which its replica follows"
	loseTail    = "the engine put back to an earlier state"
	loseAll     = "the engine restarted without its data"
)

// step is a fault of the schedule.
type step struct {
	kind  string
	after time.Duration // the one before
	slot  int           // of the node
	lasts time.Duration
}

func (s step) String() string {
	return fmt.Sprintf("%v: %s (%d), %v", s.after.Round(time.Millisecond), s.kind, s.slot, s.lasts.Round(time.Millisecond))
}

// schedule draws the faults. One node, which has no other fault, is stopped for most of
// the time; it is not the one in the slot elected. The fault that makes the engine forget comes first, since leases of nodes
// count again after it. Then a node is killed, and its lease ends while other faults
// come.
func schedule(random *rand.Rand, kinds []string, elected int) (paused int, steps []step) {
	kinds = slices.Clone(kinds)
	random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	slices.SortStableFunc(kinds, func(a, b string) int { return turn(a) - turn(b) })
	if paused = random.IntN(nodeCount); paused == elected {
		paused = (paused + 1) % nodeCount
	}
	for _, kind := range kinds {
		steps = append(steps, step{
			kind: kind, after: 200*time.Millisecond + time.Duration(random.Int64N(int64(800*time.Millisecond))),
			slot:  (paused + 1 + random.IntN(nodeCount-1)) % nodeCount,
			lasts: 500*time.Millisecond + time.Duration(random.Int64N(int64(1500*time.Millisecond))),
		})
	}
	return paused, steps
}

func turn(kind string) int {
	switch kind {
	case loseTail, loseAll, failover:
		return 0
	case killNode:
		return 1
	}
	return 2
}

// run makes the faults of one schedule.
func (w *world) run() {
	paused, steps := schedule(w.random, w.engine.faults, w.elected())
	var lines []string
	for _, s := range steps {
		lines = append(lines, s.String())
	}
	w.t.Logf("%s: node %d\n%s", pauseNode, paused, strings.Join(lines, "\n"))
	wake := w.pauseNode(paused)
	for _, s := range steps {
		rest(w.t.Context(), pace.Slow(s.after))
		began := time.Now()
		w.step(s)
		took := w.delivering(w.served)
		w.mu.Lock()
		w.healing = append(w.healing, took)
		w.mu.Unlock()
		w.t.Logf("%s: %v, delivering again after %v", s.kind, time.Since(began).Round(time.Millisecond), took.Round(time.Millisecond))
	}
	wake()
}

func (w *world) step(s step) {
	switch s.kind {
	case killNode:
		slot := w.elected()
		if slot < 0 {
			slot = s.slot
		}
		w.killNode(slot, s.lasts)
	case cutNode:
		n := w.node(s.slot)
		f := w.begin(s.kind, n)
		for _, p := range n.proxies {
			p.Cut(true)
		}
		w.finish(f)
	case silenceNode:
		w.silence(s.slot, s.lasts)
	case killPrimary:
		w.killServer(s, w.engine.primary())
	case killOther:
		first := w.engine.primary()
		i := slices.IndexFunc(w.engine.servers, func(srv *server) bool { return srv != first })
		w.killServer(s, w.engine.servers[i])
	case failover:
		w.failover(s)
	case loseTail, loseAll:
		w.forget(s)
	}
}

// elected returns the slot of the node that does some work for the others, or -1.
func (w *world) elected() (slot int) {
	if w.engine.elected == nil {
		return -1
	}
	within(w.t, patience, "one of the nodes is elected", func() bool {
		name := w.engine.elected()
		w.mu.Lock()
		defer w.mu.Unlock()
		slot = slices.IndexFunc(w.nodes, func(n *node) bool { return n != nil && n.proxies[0].Addr == name })
		return slot >= 0
	})
	return slot
}

func (w *world) begin(kind string, n *node) *fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := &fault{kind: kind, node: n, began: time.Now()}
	w.faults = append(w.faults, f)
	return f
}

func (w *world) finish(f *fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f.end = time.Now()
}

func (w *world) killNode(slot int, lasts time.Duration) {
	n := w.node(slot)
	w.mu.Lock()
	w.nodes[slot] = nil
	w.mu.Unlock()
	recorded := w.recorded(n) // by another node, as n is out of w.nodes
	f := w.begin(killNode, n)
	f.recorded = recorded
	n.kill()
	w.finish(f)
	w.elected() // the others do its work
	rest(w.t.Context(), lasts)
	w.replace(slot)
}

// recorded returns the users of a node that the engine knows of, as another node reads
// it. Where the engine has forgotten them, the node records them again soon; if it dies
// before, nobody is left who could say that they left.
func (w *world) recorded(n *node) (users []string) {
	other := w.routable()[0]
	within(w.t, patience, "a node lists the members", func() bool {
		a, err := other.call(w.t.Context(), "members", ask{Channel: lobby})
		users = a.Members
		return err == nil && a.Error == ""
	})
	return slices.DeleteFunc(users, func(user string) bool { return !slices.Contains(n.users, user) })
}

// pauseNode stops a node. The returned function waits until its lease has ended, and
// wakes it: then it believes that all is as it was.
func (w *world) pauseNode(slot int) (wake func()) {
	n := w.node(slot)
	f := w.begin(pauseNode, n)
	w.mu.Lock()
	w.paused[n] = true
	w.mu.Unlock()
	n.pause()
	w.acting.Go(func() { w.publish(context.Background(), n, channels[0]) }) // it is answered when the node wakes
	return func() {
		rest(w.t.Context(), time.Until(f.began.Add(nodeLease+time.Second)))
		n.wake()
		w.mu.Lock()
		delete(w.paused, n)
		w.mu.Unlock()
		w.finish(f)
	}
}

// silence lets nothing pass between a node and the engine until the node says that it is
// not healthy, and for some time more. Then everything that was sent meanwhile arrives.
func (w *world) silence(slot int, lasts time.Duration) {
	n := w.node(slot)
	f := w.begin(silenceNode, n)
	var resume []func()
	for _, p := range n.proxies {
		resume = append(resume, p.Stall(false))
	}
	within(w.t, patience, "Health of a node is red whose engine is silent", func() bool {
		a, err := n.call(w.t.Context(), "health", ask{})
		return err == nil && a.Error != ""
	})
	w.mu.Lock()
	w.watched = append(w.watched, time.Since(f.began))
	w.mu.Unlock()
	rest(w.t.Context(), lasts)
	for _, f := range resume {
		f()
	}
	within(w.t, patience, "Health of a node is green again", func() bool { return n.ok(w.t.Context(), "health", ask{}) })
	w.finish(f)
}

func (w *world) killServer(s step, srv *server) {
	f := w.begin(s.kind, nil)
	f.forgets = w.engine.fences
	srv.kill()
	rest(w.t.Context(), s.lasts)
	srv.start()
	w.finish(f)
}

func (w *world) failover(s step) {
	f := w.begin(s.kind, nil)
	f.forgets = true
	if w.engine.failover != nil {
		w.engine.failover(s.lasts)
		w.finish(f)
		return
	}
	old := w.engine.primary()
	old.kill()
	if now := w.engine.primary(); now == old { // it waits until there is one
		w.t.Error("the killed master is the master")
	}
	rest(w.t.Context(), s.lasts)
	old.start()
	// Sentinel needs a while to see that it is back, and on a busy machine it may choose
	// it again.
	within(w.t, 3*patience, "one server follows the other", func() bool {
		roles := make(map[string]int)
		for _, srv := range w.engine.servers {
			info, err := redisInfo(srv.addr, "replication")
			if err == nil && strings.Contains(info, "role:master") {
				roles["master"]++
			} else if err == nil && strings.Contains(info, "master_link_status:up") {
				roles["replica"]++
			}
		}
		return roles["master"] == 1 && roles["replica"] == 1
	})
	w.finish(f)
}

// forget puts the engine back to where it was some time ago, or to the beginning.
func (w *world) forget(s step) {
	f := w.begin(s.kind, nil)
	f.forgets = true
	copies := make([]string, len(w.engine.servers))
	if s.kind == loseTail {
		copies = copied(w.t, w.engine.servers)
		rest(w.t.Context(), s.lasts)
	}
	for _, srv := range w.engine.servers {
		srv.kill()
	}
	for i, srv := range w.engine.servers {
		srv.putBack(copies[i])
		srv.launch()
	}
	for _, srv := range w.engine.servers {
		srv.await()
	}
	w.finish(f)
}
