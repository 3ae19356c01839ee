// Package faultproxy is a TCP relay for tests, which can fail like a network or a
// reverse proxy. It does not interpret the bytes it carries.
package faultproxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// Proxy is a relay between clients and a server. Its methods may be called
// concurrently.
type Proxy struct {
	URL  string // ends with a slash
	Addr string // host:port

	t      testing.TB
	relays sync.WaitGroup

	mu     sync.Mutex
	ln     net.Listener
	target string
	answer string // instead of the server's
	asked  map[string]int
	delay  time.Duration
	stall  chan struct{} // closed to let bytes pass again; nil: they pass
	deaf   bool          // only the server's bytes stall
	links  map[*link]struct{}
	ended  bool
}

// link is a client's connection and the one to the server that belongs to it.
type link struct {
	client, server *net.TCPConn
	cut            chan struct{} // closed when the link is
	silent         bool          // no bytes pass from now on; guarded by Proxy.mu
}

// New returns a relay to the server at target (host:port). It ends with the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{Addr: "127.0.0.1:0", t: t, target: target, asked: make(map[string]int), links: make(map[*link]struct{})}
	p.Listen()
	t.Cleanup(p.close)
	return p
}

// Listen accepts connections, again after Refuse.
func (p *Proxy) Listen() {
	p.t.Helper()
	ln, err := net.Listen("tcp", p.Addr)
	pace.Poll(10*time.Second, 10*time.Millisecond, func() bool {
		if err != nil { // another process may have had the port for a moment
			ln, err = net.Listen("tcp", p.Addr)
		}
		return err == nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.ln, p.Addr, p.URL = ln, ln.Addr().String(), "http://"+ln.Addr().String()+"/"
	p.mu.Unlock()
	p.relays.Go(func() { p.accept(ln) })
}

// Refuse closes the listener, as while a server restarts.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	_ = p.ln.Close() // an error would be that of accept, which ends
	p.mu.Unlock()
}

// Answer gives every request that comes from now on this raw HTTP answer instead
// of the server's; "" ends that.
func (p *Proxy) Answer(raw string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer, p.asked = raw, make(map[string]int)
}

// Asked returns how many requests to a path have got the present Answer.
func (p *Proxy) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// SetTarget sends the connections that come from now on to another server.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Delay delays all bytes from now on by d, in both directions.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut ends all connections: by FIN, like a server that exits, or by RST, like a
// middlebox that has forgotten them. It returns the number of those that were not
// silent.
func (p *Proxy) Cut(rst bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if !l.silent {
			n++
		}
		for _, c := range []*net.TCPConn{l.client, l.server} {
			if rst {
				_ = c.SetLinger(0) // fails where the other side was faster
			}
			_ = c.Close()
		}
		close(l.cut)
	}
	clear(p.links)
	return n
}

// Silence drops all bytes on the present connections and tells neither side, like a
// network that has lost its routes. New connections work. It returns the number of
// silent connections; Cut ends them.
func (p *Proxy) Silence() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if !l.silent {
			l.silent, n = true, n+1
		}
	}
	return n
}

// Stall holds all bytes back while connections stay open. With deaf, it holds back
// only the bytes to the client; those from it still arrive. The returned function
// lets them pass again.
func (p *Proxy) Stall(deaf bool) (resume func()) {
	gate := make(chan struct{})
	p.mu.Lock()
	p.stall, p.deaf = gate, deaf
	p.mu.Unlock()
	return sync.OnceFunc(func() {
		p.mu.Lock()
		p.stall = nil
		p.mu.Unlock()
		close(gate)
	})
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.Refuse()
	p.Cut(true)
	p.mu.Lock()
	if p.stall != nil {
		close(p.stall)
		p.stall = nil
	}
	p.mu.Unlock()
	p.relays.Wait()
}

func (p *Proxy) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return // refused
		}
		p.relays.Go(func() { p.relay(conn.(*net.TCPConn)) })
	}
}

func (p *Proxy) relay(client *net.TCPConn) {
	defer client.Close()
	p.mu.Lock()
	target, answer := p.target, p.answer
	p.mu.Unlock()
	if answer != "" {
		p.reply(client, answer)
		return
	}
	dialed, err := net.Dial("tcp", target)
	if err != nil {
		return // the client sees a closed connection
	}
	server := dialed.(*net.TCPConn)
	defer server.Close()
	l := &link{client: client, server: server, cut: make(chan struct{})}
	if !p.keep(l) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, server, client, false) })
	both.Go(func() { p.copy(l, client, server, true) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (p *Proxy) keep(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[l] = struct{}{}
	return !p.ended
}

// copy relays one direction of a link, to the client or from it.
func (p *Proxy) copy(l *link, to, from *net.TCPConn, down bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.wait(l, down)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.CloseWrite() // the other direction may still carry bytes
}

// wait waits while the bytes of a direction may not pass.
func (p *Proxy) wait(l *link, down bool) {
	p.mu.Lock()
	stall, holds, silent, delay := p.stall, down || !p.deaf, l.silent, p.delay
	p.mu.Unlock()
	switch {
	case silent:
		<-l.cut
	case stall != nil && holds:
		<-stall
	case delay > 0:
		select {
		case <-time.After(delay):
		case <-l.cut:
		}
	}
}

// reply reads one request and answers it.
func (p *Proxy) reply(client *net.TCPConn, answer string) {
	r, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked[r.URL.Path]++
	p.mu.Unlock()
	_, _ = io.WriteString(client, answer) // the client may be gone
}
