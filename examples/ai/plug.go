package main

import (
	"bufio"
	"crypto/rand"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

// A plug is what connects browsers with their WebSockets, and can be pulled. It knows
// browsers by a cookie. The zero value is ready to use.
type plug struct {
	mu    sync.Mutex
	conns map[string]map[net.Conn]struct{} // open ones, of each browser
	until map[string]time.Time             // when a browser has its network back
}

const cookie = "ai_browser"

// unplugged is for how long a browser has no network.
const unplugged = 4 * time.Second

// name gives a browser its name, with the page.
func (p *plug) name(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie(cookie); err != nil && r.URL.Path == "/" {
			http.SetCookie(w, &http.Cookie{Name: cookie, Value: rand.Text(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		}
		next.ServeHTTP(w, r)
	})
}

// pull cuts all WebSockets of the browser that asks, without a word, and lets it have
// none for a while.
func (p *plug) pull(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie(cookie)
	if err != nil || !web.Fits(c.Value, 1, 64) {
		http.Error(w, "load the page first", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for browser, until := range p.until {
		if now.After(until) {
			delete(p.until, browser)
		}
	}
	const most = 100
	if len(p.until) >= most {
		http.Error(w, "too many at once: try again", http.StatusServiceUnavailable)
		return
	}
	if p.until == nil {
		p.until = make(map[string]time.Time)
	}
	p.until[c.Value] = now.Add(unplugged)
	for conn := range p.conns[c.Value] {
		conn.Close() // which its reader sees
	}
	web.WriteJSON(w, map[string]int64{"ms": unplugged.Milliseconds()})
}

// handler serves WebSockets to browsers that are plugged in.
func (p *plug) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie(cookie)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		if p.out(c.Value) {
			http.Error(w, "unplugged", http.StatusBadGateway)
			return
		}
		wire := &wire{ResponseWriter: w, plug: p, browser: c.Value}
		defer wire.forget()
		next.ServeHTTP(wire, r)
	})
}

// out reports whether a browser is unplugged.
func (p *plug) out(browser string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.until[browser])
}

// A wire tells its plug the connection that becomes a WebSocket.
type wire struct {
	http.ResponseWriter
	plug    *plug
	browser string
	conn    net.Conn
}

// Unwrap is for [http.ResponseController].
func (w *wire) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack implements [http.Hijacker].
func (w *wire) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.plug.mu.Lock()
	defer w.plug.mu.Unlock()
	if w.plug.conns == nil {
		w.plug.conns = make(map[string]map[net.Conn]struct{})
	}
	if w.plug.conns[w.browser] == nil {
		w.plug.conns[w.browser] = make(map[net.Conn]struct{})
	}
	w.conn = conn
	w.plug.conns[w.browser][conn] = struct{}{}
	return conn, rw, nil
}

// forget takes the connection out of the plug, once it is over.
func (w *wire) forget() {
	w.plug.mu.Lock()
	defer w.plug.mu.Unlock()
	delete(w.plug.conns[w.browser], w.conn)
	if len(w.plug.conns[w.browser]) == 0 {
		delete(w.plug.conns, w.browser)
	}
}
