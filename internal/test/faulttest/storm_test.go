package faulttest

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// arrivals is a listener that remembers when it accepted whom, and can drop them
// all.
type arrivals struct {
	net.Listener
	mu    sync.Mutex
	times []time.Time
	conns []*net.TCPConn
}

func (a *arrivals) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err == nil {
		a.mu.Lock()
		a.times, a.conns = append(a.times, time.Now()), append(a.conns, conn.(*net.TCPConn))
		a.mu.Unlock()
	}
	return conn, err
}

// reset drops all connections without a word.
func (a *arrivals) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		_ = c.SetLinger(0) // fails where it is closed
		_ = c.Close()
	}
}

// peak returns how many came in the busiest second.
func (a *arrivals) peak() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return busiest(a.times)
}

// busiest returns how many of times, which are in order, lie within one second.
func busiest(times []time.Time) (most int) {
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func (s *server) accept(t testing.TB, addr string) *arrivals {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	poll(patience, func() bool {
		if err != nil { // the old server may not have let go of the address yet
			ln, err = net.Listen("tcp", addr)
		}
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	a := &arrivals{Listener: ln}
	go s.http.Serve(a)
	return a
}

// Promise 11: the clients of a server that restarts come back spread over the
// time that Close was given.
func TestRestart(t *testing.T) {
	side(t)
	n, spread := size(500, 5000), size(min(slow(8*time.Second), 40*time.Second), 10*time.Second)
	srv := newServer(t, nil)
	srv.accept(t, "127.0.0.1:0")
	clients := crowd(t, srv.addr, n)

	ctx, cancel := context.WithTimeout(t.Context(), spread)
	defer cancel()
	began := time.Now()
	closed := srv.Close(ctx)
	took := time.Since(began)
	shut := srv.http.Shutdown(ctx)
	next := newServer(t, nil)
	came := next.accept(t, srv.addr)
	back := returned(t, clients, began)

	// Chance makes more of small numbers.
	mean := float64(n) / spread.Seconds()
	limit := int(max(2*mean, mean+6*math.Sqrt(mean)))
	figure(t, "11 restart", "%d clients, spread over %v: closed in %.1f s, at most %d accepts in a second (of %d), all back after %.1f s",
		n, spread, took.Seconds(), came.peak(), limit, back.Seconds())
	if closed != nil || shut != nil {
		t.Errorf("Close: %v; Shutdown: %v", closed, shut)
	}
	if peak := intended(clients); peak > limit {
		t.Errorf("%d clients were told to come in one second, want at most %d", peak, limit)
	}
	for _, c := range clients {
		if c.byes.Load() != 1 {
			t.Fatalf("a client (%s) was told %d times", c.kind, c.byes.Load())
		}
	}
}

// The same where nobody had time for a goodbye.
func TestCrash(t *testing.T) {
	side(t)
	n := size(500, 5000)
	srv := newServer(t, nil)
	old := srv.accept(t, "127.0.0.1:0")
	clients := crowd(t, srv.addr, n)
	began := time.Now()
	old.Close()
	old.reset()
	next := newServer(t, nil)
	came := next.accept(t, srv.addr)
	back := returned(t, clients, began)
	figure(t, "11 crash", "%d clients: at most %d accepts in a second, all back after %.1f s", n, came.peak(), back.Seconds())
}

// crowd returns clients of both kinds, which behave as docs/protocol.md says.
func crowd(t testing.TB, addr string, n int) []*client {
	t.Helper()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = (&client{kind: kinds[i%2], base: "http://" + addr, channels: []string{"room"}, wait: backoff}).start(t)
		if i%100 == 99 {
			allOpen(t, clients[i-99:i+1])
		}
	}
	allOpen(t, clients)
	return clients
}

// returned waits until all clients have come back, and tells how long after
// began that was.
func returned(t testing.TB, clients []*client, began time.Time) time.Duration {
	t.Helper()
	for i, c := range clients {
		within(t, 2*patience, fmt.Sprintf("client %d (%s) is back", i, c.kind), func() bool { return c.opened.Load() >= 2 })
	}
	back := time.Since(began)
	if back > slow(2*patience) {
		t.Errorf("all are back only after %v", back)
	}
	return back
}

// intended returns how many clients at most were told to come back in one
// second, whatever they made of it.
func intended(clients []*client) int {
	var times []time.Time
	for _, c := range clients {
		times = append(times, time.UnixMilli(c.wish.Load()))
	}
	slices.SortFunc(times, time.Time.Compare)
	return busiest(times)
}
