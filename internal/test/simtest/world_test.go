package simtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
)

const (
	chaos = 4 * time.Minute
	// quiet is longer than anything may take to be found and mended: late requests,
	// and the second look after a death.
	quiet = 8 * time.Minute
)

// world is one run of the simulation.
type world struct {
	t       *testing.T
	seed    int64
	engine  *engine
	rate    int64 // of faults of each kind, in a thousand requests
	oneStep bool  // the engine writes and appends at once
	ttl     time.Duration
	loses   bool // the engine loses its tail
	empties bool // and in the end everything
	dies    bool // nodes die
	busy    bool // there are visitors, clients hurry and try other nodes, and lists are long
	roams   bool // clients leave through any node
	// history is how many events a node keeps; 0: more than there are. Where it is small,
	// who follows a node stalls now and then, and misses events.
	history int
	// streaming: growing messages are written.
	streaming bool
	late      sync.WaitGroup // of what outlives calls
	acting    sync.WaitGroup // of all who act
	naming    sync.Mutex
	aliases   map[string]string // of nodes

	mu       sync.Mutex
	started  int
	nodes    []*node
	calm     bool // no faults any longer
	ended    bool
	faults   []time.Time
	losses   []time.Time
	deaths   []time.Time
	lines    []line
	acked    []string
	sessions []*session
	written  []written
}

type line struct {
	at   time.Time
	text string
}

func newWorld(t *testing.T, seed int64) *world {
	w := &world{t: t, seed: seed, aliases: make(map[string]string)}
	w.rate = []int64{0, 2, 5, 10, 20, 40}[draw(6, seed, "rate")]
	w.oneStep = draw(2, seed, "step") == 0
	w.ttl = []time.Duration{90 * time.Second, 24 * time.Hour}[draw(2, seed, "ttl")]
	w.loses = draw(3, seed, "loses") == 0
	w.dies = w.rate > 0
	if !slices.Contains(found, seed) { // those go on as they were when they found it
		w.vary()
	}
	w.engine = newEngine([]int{60, 500, 5000}[draw(3, seed, "retain")])
	w.engine.trace = w.trace
	return w
}

// vary draws what is so in some worlds only.
func (w *world) vary() {
	// Where all nodes live, nobody looks for what the dead have left, and finds more.
	steady := w.rate > 0 && draw(3, w.seed, "steady") == 0
	w.loses = w.loses && !steady
	w.dies = w.rate > 0 && !steady || w.loses
	w.empties = w.loses && draw(2, w.seed, "empties") == 0 // else what came back with the store must end
	w.busy = true
	w.history = []int{60, 0, 0, 0}[draw(4, w.seed, "history")]
	// A node does not learn that another one has ended its session. If it must record its
	// sessions again, it records this one, too, and ends it with its lease.
	w.roams = w.ttl < time.Hour || w.rate == 0 && !w.loses
}

func (w *world) trace(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line{time.Now(), fmt.Sprintf(format, args...)})
}

// text returns the trace. Events of one moment have no order.
func (w *world) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.lines, func(a, b line) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return strings.Compare(a.text, b.text)
	})
	var b strings.Builder
	for _, l := range w.lines {
		fmt.Fprintf(&b, "%12.6f %s\n", l.at.Sub(epoch).Seconds(), l.text)
	}
	return b.String()
}

// epoch is when virtual time begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// blame notes that something went wrong now.
func (w *world) blame() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, time.Now())
}

func (w *world) faulty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm
}

func (w *world) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

func (w *world) live() (live []*node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.alive() {
			live = append(live, n)
		}
	}
	return live
}

// any returns a node that lives.
func (w *world) any(what ...any) *node {
	live := w.live()
	return live[draw(int64(len(live)), append(what, w.seed, "any")...)]
}

// run lets everything happen, and returns when nothing does any longer.
func (w *world) run() {
	for try := 0; len(w.live()) < 3 && try < 100; try++ {
		_, _ = w.start() // again, if it fails
	}
	for i := range 3 {
		w.acting.Go(func() { w.publishes(i) })
	}
	for i := range 10 {
		s := &session{world: w, id: i}
		w.sessions = append(w.sessions, s)
		w.acting.Go(s.act)
	}
	if w.busy {
		w.acting.Go(w.visits)
	}
	for i := range 4 {
		if w.streaming {
			w.acting.Go(func() { w.grows(i) })
		}
	}
	w.direct()
	time.Sleep(instant)
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	w.trace("calm")
	for _, n := range w.live() {
		n.link.heal()
	}
	time.Sleep(quiet)
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.acting.Wait()
	w.any().publish("last")
	time.Sleep(20 * time.Second)
	w.check()
	for _, n := range w.live() {
		n.end()
	}
	w.late.Wait()
}

// direct has things happen to nodes and to the engine, one after another.
func (w *world) direct() {
	began := time.Now()
	for i := 0; time.Since(began) < chaos; i++ {
		is := func(aspect string, n int64) int64 { return draw(n, w.seed, "direct", i, aspect) }
		time.Sleep(time.Duration(is("pause", int64(30*time.Second))))
		n := w.any("direct", i)
		switch what := is("what", 10); {
		case what < 4:
			if w.rate > 0 { // else it is a world in which little goes wrong
				w.cut(n, time.Duration(is("away", int64(80*time.Second))))
			}
		case what < 6:
			if w.dies && len(w.live()) > 1 {
				// Half of those who follow come when the others give the dead one up.
				w.replace(n, time.Duration(is("whether", 2))*(silence+time.Duration(is("restart", int64(8*time.Second)))))
			}
		case w.loses:
			w.engine.save()
			time.Sleep(time.Duration(is("tail", int64(20*time.Second))))
			w.lose(is("keep", 2) == 0)
		}
	}
	time.Sleep(instant)
	if w.empties {
		w.restart()
	}
}

// cut cuts a node off. Where no node dies, none is cut off for so long that it is given up.
func (w *world) cut(n *node, away time.Duration) {
	if !w.dies {
		away /= 8
	}
	w.trace("node %d is cut off for %v", n.id, away)
	w.blame()
	n.cut(away)
	w.late.Go(func() { time.Sleep(away); w.blame(); n.link.heal() })
}

// replace kills a node. Another one starts, at once or when the others give it up, perhaps.
func (w *world) replace(n *node, wait time.Duration) {
	if !w.busy {
		wait = 0
	}
	n.kill()
	w.late.Go(func() {
		time.Sleep(wait)
		w.startSurely()
	})
}

func (w *world) startSurely() {
	for failed := 0; failed < 3; {
		calm := !w.faulty()
		n, err := w.start()
		switch {
		case err == nil:
			w.welcome(n)
			return
		case calm:
			w.t.Errorf("a node cannot start: %v", err)
			failed++
		}
	}
}

// lose has the engine lose what came after it was saved.
func (w *world) lose(keep bool) {
	w.trace("the engine loses its tail")
	w.blame()
	w.mu.Lock()
	w.losses = append(w.losses, time.Now())
	w.mu.Unlock()
	w.engine.lose(keep)
}

// restart has the engine come back without anything, and a node, which knows nothing.
func (w *world) restart() {
	if len(w.live()) > 1 {
		w.any("restart").kill()
	}
	w.engine.forget()
	w.lose(false)
	time.Sleep(time.Duration(draw(int64(3*time.Second), w.seed, "restart")))
	w.startSurely()
}

// publishes sends messages, each once.
func (w *world) publishes(i int) {
	for k := 0; !w.over(); k++ {
		wait := 5 * time.Second
		if !w.faulty() {
			wait = 30 * time.Second
		}
		time.Sleep(time.Duration(draw(int64(wait), w.seed, "publish", i, k)))
		id := fmt.Sprintf("m%d.%d", i, k)
		if n := w.any(id); n.publish(id) && n.alive() {
			w.mu.Lock()
			w.acked = append(w.acked, id)
			w.mu.Unlock()
		}
	}
}

// session is a client, which is on one node at a time.
type session struct {
	*world
	id    int
	guest bool // see welcome
	node  *node
	in    bool // the last call that was answered was Join
	sure  bool // the last call was answered
	fresh bool // not sure, and nothing but Joins have failed since it was out
	stays stays
}

func (s *session) channel() string {
	if s.guest {
		return "hall"
	}
	return fmt.Sprintf("room%d", s.id%2)
}

func (s *session) user() string {
	if s.guest {
		return fmt.Sprintf("g%d", s.id)
	}
	return fmt.Sprintf("u%d", s.id/2%3)
}

func (s *session) client() realtime.EventOption {
	return realtime.FromClient(fmt.Sprintf("simulated-client-%03d", s.id))
}

func (s *session) String() string { return fmt.Sprintf("%s/%s/c%d", s.channel(), s.user(), s.id) }

func (s *session) act() {
	s.sure = true
	for k := 0; !s.over(); k++ {
		wait := 25 * time.Second // a lease of 90 s is renewed in time
		if s.busy && !s.sure && s.faulty() && draw(2, s.seed, "session", s.id, k, "hasty") == 0 {
			wait = 2 * time.Second // it reloads
		}
		time.Sleep(time.Duration(draw(int64(wait), s.seed, "session", s.id, k)))
		if s.node != nil && !s.node.alive() {
			s.in, s.sure, s.fresh, s.node = false, s.ttl < time.Hour || s.sure, false, nil
		}
		s.step(k)
	}
}

// step does one thing.
func (s *session) step(k int) {
	is := func(aspect string, n int64) int64 { return draw(n, s.seed, "session", s.id, k, aspect) }
	if s.node == nil || s.busy && s.fresh && is("elsewhere", 2) == 0 {
		s.node = s.any("session", s.id, k)
	}
	if !s.faulty() { // settle
		switch {
		case s.sure && s.in && s.ttl < time.Hour:
			s.join(k)
		case s.sure, s.fresh && s.id%2 == 0: // whose Join failed may leave it at that
		default:
			s.leave(s.node)
		}
		return
	}
	switch p := is("what", 100); {
	case s.in && s.sure && p < 40 && s.ttl > time.Hour: // the node keeps it
	case !s.in && p < 80, s.in && p < 60:
		s.join(k)
	case s.roams && s.in && is("through", 2) == 0 && p < 85:
		s.leave(s.any("through", s.id, k))
	case s.in && p < 85, !s.sure:
		s.leave(s.node)
	case s.in && s.ttl < time.Hour: // to another node
		s.node = s.any("move", s.id, k)
		s.join(k)
	}
}

func (s *session) join(k int) {
	n := s.node
	joined := s.stays.asks(n, s.ttl)
	err := n.rt.Presence().Join(context.Background(), s.channel(), s.user(), draw(2, s.seed, s.id, k/4, "metadata"), s.client())
	s.trace("node %d: join %v: %v", n.id, s, err)
	if err == nil {
		s.in, s.sure, s.fresh = true, true, false
		s.checkThere(n)
		joined()
		return
	}
	if s.busy && s.ttl < time.Hour && s.faulty() && draw(2, s.seed, "elsewhere", s.id, k) == 0 {
		s.node = s.any("elsewhere", s.id, k)
	}
	s.fresh = s.sure && !s.in || s.fresh
	s.sure = s.sure && s.in // it was renewed, or not
}

func (s *session) leave(n *node) {
	s.stays.end()
	err := n.rt.Presence().Leave(context.Background(), s.channel(), s.user(), s.client())
	s.trace("node %d: leave %v: %v", n.id, s, err)
	s.stays.left(n, s.node, err)
	s.in, s.sure, s.fresh = false, err == nil, false
}
