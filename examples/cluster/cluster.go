package main

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// cluster is the nodes, and what the load balancer knows of them.
type cluster struct {
	running sync.WaitGroup
	ending  context.Context // ends when the cluster is stopped
	end     context.CancelFunc

	acting sync.Mutex // one thing is done to the nodes at a time

	mu      sync.Mutex
	nodes   []*node
	changed chan struct{} // closed with the next change of anything below
}

// node is one of them. Its fields are guarded by the cluster's mutex.
type node struct {
	name  string
	cable *cable

	process *process // nil: none runs
	paused  bool
	cut     bool
	healthy bool // it passes the health check
	conns   map[*conn]struct{}
}

// conn is a request that a node answers: most of them WebSockets.
type conn struct {
	page string // which it is of, if it says so
	end  context.CancelFunc
}

// startCluster returns a cluster in any case: stop it. If ctx ends, nothing more is started.
func startCluster(ctx context.Context, nats string, names ...string) (*cluster, error) {
	c := &cluster{changed: make(chan struct{})}
	c.ending, c.end = context.WithCancel(ctx)
	at, err := url.Parse(nats)
	if err != nil {
		return c, err
	}
	var starting errgroup.Group
	for _, name := range names {
		n := &node{name: name, conns: make(map[*conn]struct{})}
		if n.cable, err = newCable(at.Host); err != nil {
			return c, errors.Join(err, starting.Wait())
		}
		c.nodes = append(c.nodes, n)
		starting.Go(func() error { return c.start(n) })
	}
	if err := starting.Wait(); err != nil {
		return c, err
	}
	for _, n := range c.nodes {
		c.running.Go(func() { c.watch(n) })
	}
	c.running.Go(c.clock)
	return c, nil
}

// stop ends everything, each node in order. Stopping again does nothing.
func (c *cluster) stop() {
	c.acting.Lock()
	defer c.acting.Unlock()
	c.end()
	var stopping sync.WaitGroup
	for _, n := range c.nodes {
		n.cable.mend()
		if p := c.process(n); p != nil {
			stopping.Go(p.stop)
		}
	}
	stopping.Wait()
	for _, n := range c.nodes {
		n.cable.close()
	}
	c.running.Wait()
}

// change changes what is known of the nodes, and has pages told.
func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// start starts a node's process.
func (c *cluster) start(n *node) error {
	p, err := startProcess(c.ending, n.name, n.cable.url())
	if err != nil {
		return err
	}
	c.change(func() { n.process, n.paused, n.healthy = p, false, true })
	c.running.Go(func() { // it may end by itself
		<-p.Ended
		c.gone(n, p)
	})
	return nil
}

// gone notes that a process has ended, and ends what it served.
func (c *cluster) gone(n *node, p *process) {
	known := false
	c.change(func() {
		if known = n.process != p; !known {
			n.process, n.paused, n.healthy = nil, false, false
		}
	})
	if !known {
		c.turnAway(n)
	}
}

// process returns the process that a node runs in, or nil.
func (c *cluster) process(n *node) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n.process
}

// What can be done to a node.
var actions = map[string]func(*cluster, *node) error{
	"kill": func(c *cluster, n *node) error {
		if p := c.process(n); p != nil {
			p.Kill()
			c.gone(n, p)
		}
		return nil
	},
	"start": func(c *cluster, n *node) error {
		if c.process(n) != nil {
			return nil
		}
		return c.start(n)
	},
	"pause":  func(c *cluster, n *node) error { return c.setPaused(n, true, (*process).pause) },
	"resume": func(c *cluster, n *node) error { return c.setPaused(n, false, (*process).resume) },
	"cut": func(c *cluster, n *node) error {
		n.cable.cut()
		c.change(func() { n.cut = true })
		return nil
	},
	"mend": func(c *cluster, n *node) error {
		n.cable.mend()
		c.change(func() { n.cut = false })
		return nil
	},
}

func (c *cluster) setPaused(n *node, paused bool, signal func(*process) error) error {
	p := c.process(n)
	if p == nil {
		return nil
	}
	if err := signal(p); err != nil {
		return err
	}
	c.change(func() { n.paused = paused })
	return nil
}

// act does something to a node.
func (c *cluster) act(name, what string) error {
	do := actions[what]
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == name })
	if do == nil || i < 0 {
		return errUnknown
	}
	c.acting.Lock()
	defer c.acting.Unlock()
	if c.ending.Err() != nil {
		return c.ending.Err()
	}
	return do(c, c.nodes[i])
}

var errUnknown = errors.New("no such node, or nothing that can be done to it")
