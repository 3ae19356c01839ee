package realtimetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/internal/test/memlink"
)

// Cluster is several nodes of one deployment, each with a Realtime and a network of
// its own, over one engine, and a load balancer in front. Its methods, and those of
// its nodes, belong to the goroutine of the test.
type Cluster struct {
	// URL is where clients that [Cluster.HTTPClient] returns find the cluster, without
	// a slash at the end. It is that of each node.
	URL string

	// Log is the log below all nodes, with its faults. It is nil if
	// [Options].Realtime has a Backend that is not itself a *backendtest.Faulty.
	Log *backendtest.Faulty

	t      TB
	policy realtime.Policy
	opts   Options
	engine backend.Backend
	nodes  []*Node

	mu   sync.Mutex
	next int // of the nodes, for who dials next
}

// NewCluster returns n nodes that serve until the test ends. They run in this
// process, with the same policy and options: Options.Handler is called once for each,
// and again when one is started again. What the app keeps in package variables is
// shared by all nodes, as it is not between processes.
//
// Handlers of events need a group with a name, as in every deployment of several
// nodes: see [realtime.Realtime.Group].
//
// Without Options.Realtime.Backend the engine is one in memory, with the faults of
// [Cluster].Log. Some other one must be able to serve several nodes.
func NewCluster(t TB, n int, policy realtime.Policy, opts *Options) *Cluster {
	t.Helper()
	o := opts.orDefaults()
	c := &Cluster{t: t, policy: policy, opts: o, engine: o.Realtime.Backend}
	if c.Log, _ = c.engine.(*backendtest.Faulty); c.Log != nil {
		t.Cleanup(func() { _ = c.Log.Close(context.Background()) }) // memory has nothing to fail with
	}
	for i := range n {
		node := &Node{cluster: c, number: i}
		node.start()
		c.nodes = append(c.nodes, node)
		c.URL = node.URL
	}
	return c
}

// Node returns the i-th node, from 0.
func (c *Cluster) Node(i int) *Node { return c.nodes[i] }

// Node is a node of a [Cluster]. As a [Server] it serves those clients that are its
// own: those of its HTTPClient, Ren and Connect, which never reach another node.
type Node struct {
	// Server is another one after [Node.Start].
	*Server

	cluster *Cluster
	number  int
	link    *memlink.Node

	mu   sync.Mutex
	away bool // the load balancer chooses another one
}

func (n *Node) start() {
	c := n.cluster
	c.t.Helper()
	link, o := memlink.NewNode(c.engine), c.opts
	o.Realtime.Backend = link
	c.t.Cleanup(func() { _ = link.Close(context.Background()) }) // after the server has ended
	s := newServer(c.t, c.policy, o)
	s.name, s.Log, s.shared = fmt.Sprint("node ", n.number), c.Log, true
	if n.Server != nil {
		s.Net = n.Net // where its clients look for it
		s.Net.listen()
	}
	c.t.Cleanup(func() { // before it ends, so that it need not wait
		link.Process.Heal()
		link.Cable.Heal()
	})
	s.Start()
	n.Server, n.link = s, link
	n.setAway(false)
}

// Kill ends the node as kill -9 does: connections break, nothing of it reaches the
// engine any longer, and nobody is told. The others end the presence of those who were
// connected to it, and take its groups of handlers over, when they have not heard of
// it for the lease of 30 s.
//
// Its goroutines are not stopped: their contexts end and their calls fail.
func (n *Node) Kill() {
	n.setAway(true)
	n.link.Kill()
	n.Net.close()
	dead := n.Server
	dead.running.Go(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = dead.Realtime.Close(ended) // nobody hears of it
	})
	settle()
}

// Start starts a node that was killed, at its old address: a new process, in which
// [Node].Server has a new Realtime, with a handler and recorders of its own.
func (n *Node) Start() {
	n.cluster.t.Helper()
	if n.link.Alive() {
		n.cluster.t.Fatalf("Start: node %d was not killed", n.number)
	}
	n.start()
}

// Pause lets the node stand still, as a process that is stopped (SIGSTOP) or a machine
// that swaps: its network is silent, and what it asks the engine for waits. After
// [Node.Resume] all of that is carried out, even if the others have given the node up
// meanwhile. Unlike those of a stopped process, its timers go on.
func (n *Node) Pause() {
	n.setAway(true)
	n.Net.Stall()
	n.link.Process.Cut()
	settle()
}

// Resume ends a Pause.
func (n *Node) Resume() {
	n.link.Process.Heal()
	n.Net.Resume()
	n.setAway(n.link.Cable.Down() || !n.link.Alive())
	settle()
}

// Cut cuts the node off from the engine: requests and answers are lost, and
// [realtime.Realtime.Health] fails. Clients that are connected stay so, and hear
// nothing new. (To cut clients off, see [Node].Net.)
func (n *Node) Cut() {
	n.setAway(true)
	n.link.Cable.Cut()
	settle()
}

// Heal ends a Cut.
func (n *Node) Heal() {
	n.link.Cable.Heal()
	n.setAway(n.link.Process.Down() || !n.link.Alive())
	settle()
}

func (n *Node) setAway(away bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = away
}

// dial connects to the node, or returns false if the load balancer has to choose
// another one.
func (n *Node) dial(ctx context.Context) (net.Conn, bool, error) {
	n.mu.Lock()
	away, network := n.away, (*Network)(nil)
	if !away {
		network = n.Net
	}
	n.mu.Unlock()
	if away {
		return nil, false, nil
	}
	conn, err := network.Dial(ctx, "", "")
	return conn, true, err
}

// dial is the load balancer: new connections go to the nodes in turn, and not to those
// that are killed, paused or cut off. Those that are open stay where they are.
func (c *Cluster) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c.mu.Lock()
	first := c.next
	c.next++
	c.mu.Unlock()
	for i := range c.nodes {
		if conn, ok, err := c.nodes[(first+i)%len(c.nodes)].dial(ctx); ok {
			return conn, err
		}
	}
	return nil, &net.OpError{Op: "dial", Net: "memory", Err: syscall.ECONNREFUSED}
}

// HTTPClient returns a new client, with connections of its own, whose dials end at the
// load balancer: a connection that breaks is followed by one to the next node. See
// [Server.HTTPClient].
func (c *Cluster) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.dial}}
}

// Ren is [Server.Ren] through the load balancer.
func (c *Cluster) Ren(opts *client.RenOptions) *client.Ren {
	var o client.RenOptions
	if opts != nil {
		o = *opts
	}
	if o.HTTPClient == nil {
		o.HTTPClient = c.HTTPClient()
	}
	return c.working().Ren(&o)
}

// Connect is [Server.Connect] through the load balancer.
func (c *Cluster) Connect(opts *client.RealtimeOptions) *client.Realtime {
	c.t.Helper()
	var o client.RealtimeOptions
	if opts != nil {
		o = *opts
	}
	if o.HTTPClient == nil {
		o.HTTPClient = c.HTTPClient()
	}
	return c.working().Connect(&o)
}

// working returns a node that works, if there is one.
func (c *Cluster) working() *Node {
	i := max(0, slices.IndexFunc(c.nodes, func(n *Node) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return !n.away
	}))
	return c.nodes[i]
}
