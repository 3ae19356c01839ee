package browsertest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP relay between a browser and a server, which fails as networks
// and front servers do. It knows nothing of what it carries.
type Proxy struct {
	URL string

	t      testing.TB
	addr   string
	relays sync.WaitGroup

	mu     sync.Mutex
	ln     net.Listener
	target string
	answer string // instead of the server's
	asked  map[string]int
	stall  chan struct{} // closed to let bytes pass again; nil: they pass
	deaf   bool          // only the server's bytes stall
	conns  map[*net.TCPConn]bool
	ended  bool
}

// NewProxy returns a relay to the server at target (host:port). It ends with the
// test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, addr: "127.0.0.1:0", target: target, asked: make(map[string]int), conns: make(map[*net.TCPConn]bool)}
	p.Listen()
	t.Cleanup(p.close)
	return p
}

// Listen accepts connections, again after Refuse.
func (p *Proxy) Listen() {
	p.t.Helper()
	var ln net.Listener
	var err error
	if !poll(5*time.Second, func() bool {
		ln, err = net.Listen("tcp", p.addr)
		return err == nil
	}) {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.ln, p.addr, p.URL = ln, ln.Addr().String(), "http://"+ln.Addr().String()+"/"
	p.mu.Unlock()
	p.relays.Go(func() { p.accept(ln) })
}

// Refuse makes nobody listen, as while a server restarts.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	_ = p.ln.Close() // accept has nobody to tell
	p.mu.Unlock()
}

// Answer gives every request that comes from now on this raw HTTP answer instead
// of the server's; "" ends that.
func (p *Proxy) Answer(raw string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer, p.asked = raw, make(map[string]int)
}

// Asked tells how many requests to a path have got the present Answer.
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

// Cut ends all connections: by FIN, as a server that exits does, or by RST, as a
// middlebox that has forgotten them does. It tells how many there were.
func (p *Proxy) Cut(rst bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if rst {
			_ = c.SetLinger(0) // fails where the other side was faster
		}
		_ = c.Close()
	}
	n := len(p.conns) / 2
	clear(p.conns)
	return n
}

// Stall holds all bytes back while connections stay open; with deaf set only
// those to the client, whose own still arrive. The returned function lets them
// pass again.
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
		return // which is what the client would see
	}
	server := dialed.(*net.TCPConn)
	defer server.Close()
	if !p.keep(client, server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, false) })
	both.Go(func() { p.copy(client, server, true) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

func (p *Proxy) keep(conns ...*net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.ended
}

// copy relays one direction, to the client or from it.
func (p *Proxy) copy(to, from *net.TCPConn, down bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.wait(down)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.CloseWrite() // the other direction may have more to say
}

// wait waits while the bytes of a direction stall.
func (p *Proxy) wait(down bool) {
	p.mu.Lock()
	stall, holds := p.stall, down || !p.deaf
	p.mu.Unlock()
	if stall != nil && holds {
		<-stall
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
