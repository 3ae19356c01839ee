package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

// checkEvery and checkTime are those of the health checks. A node that fails two of
// them gets no requests, and those it has are ended, so that pages move.
const (
	checkEvery = 300 * time.Millisecond
	checkTime  = 700 * time.Millisecond
)

// watch checks a node's health until the cluster ends.
func (c *cluster) watch(n *node) {
	for failed := 0; ; {
		select {
		case <-time.After(web.Slow(checkEvery)):
		case <-c.ending.Done():
			return
		}
		if c.check(n) {
			failed = 0
		} else {
			failed++
		}
		c.mu.Lock()
		healthy := n.process != nil && (n.healthy && failed < 2 || failed == 0)
		changed := healthy != n.healthy
		c.mu.Unlock()
		if changed {
			c.change(func() { n.healthy = healthy && n.process != nil })
		}
		if !healthy {
			c.turnAway(n)
		}
	}
}

func (c *cluster) check(n *node) bool {
	p := c.process(n)
	if p == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(c.ending, web.Slow(checkTime))
	defer cancel()
	return ask(ctx, http.MethodGet, p.URL.JoinPath("healthz"), nil)
}

// ask reports whether a node does what it is asked for.
func ask(ctx context.Context, method string, at *url.URL, body io.Reader) bool {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode < http.StatusMultipleChoices
}

// turnAway ends the requests that a node answers.
func (c *cluster) turnAway(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range n.conns {
		conn.end()
	}
}

// balance has a request answered by the healthy node that has the fewest.
func (c *cluster) balance(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	conn := &conn{page: r.URL.Query().Get("page"), end: cancel}
	n, at := c.take(conn)
	if n == nil {
		http.Error(w, "no node is healthy", http.StatusServiceUnavailable)
		return
	}
	defer c.change(func() { delete(n.conns, conn) })
	proxy := &httputil.ReverseProxy{
		Rewrite: func(out *httputil.ProxyRequest) {
			out.SetURL(at)
			out.Out.Host = out.In.Host // which nodes compare with the origin
		},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // connections are meant to break here
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
}

func (c *cluster) take(conn *conn) (best *node, at *url.URL) {
	c.change(func() {
		for _, n := range c.nodes {
			if n.healthy && n.process != nil && (best == nil || len(n.conns) < len(best.conns)) {
				best, at = n, n.process.URL
			}
		}
		if best != nil {
			best.conns[conn] = struct{}{}
		}
	})
	return best, at
}
