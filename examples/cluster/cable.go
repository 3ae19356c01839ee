package main

import (
	"net"
	"sync"
)

// cable is the network between one node and NATS. While it is cut, nothing comes
// through and nobody is told, as when somebody pulls a plug; what was sent meanwhile
// comes late, as TCP would send it again.
type cable struct {
	ln     net.Listener
	target string
	relays sync.WaitGroup

	mu     sync.Mutex
	whole  chan struct{} // closed when it is mended; nil while it is whole
	conns  map[net.Conn]struct{}
	closed bool
}

func newCable(target string) (*cable, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cable{ln: ln, target: target, conns: make(map[net.Conn]struct{})}
	c.relays.Go(c.accept)
	return c, nil
}

func (c *cable) url() string { return "nats://" + c.ln.Addr().String() }

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole == nil && !c.closed {
		c.whole = make(chan struct{})
	}
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole != nil {
		close(c.whole)
		c.whole = nil
	}
}

// wait waits while the cable is cut.
func (c *cable) wait() {
	c.mu.Lock()
	whole := c.whole
	c.mu.Unlock()
	if whole != nil {
		<-whole
	}
}

// close ends all connections, and returns when nothing runs any longer.
func (c *cable) close() {
	c.mend()
	c.mu.Lock()
	c.closed = true
	_ = c.ln.Close()
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.relays.Wait()
}

func (c *cable) accept() {
	for {
		node, err := c.ln.Accept()
		if err != nil {
			return // closed
		}
		nats, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = node.Close() // it tries again
			continue
		}
		if !c.add(node, nats) {
			return
		}
		var both sync.WaitGroup
		both.Go(func() { c.relay(node, nats) })
		both.Go(func() { c.relay(nats, node) })
		c.relays.Go(func() {
			both.Wait()
			c.remove(node, nats)
		})
	}
}

func (c *cable) add(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		if c.closed {
			_ = conn.Close()
		} else {
			c.conns[conn] = struct{}{}
		}
	}
	return !c.closed
}

func (c *cable) remove(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		delete(c.conns, conn)
	}
}

// relay passes bytes on, until either end closes.
func (c *cable) relay(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		c.wait()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
