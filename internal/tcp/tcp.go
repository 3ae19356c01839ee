// Package tcp tunes the TCP connections that streams run on.
package tcp

import (
	"context"
	"math"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"
)

const (
	// sendBuffer bounds the bytes on their way to one client: with a round trip of
	// 100 ms it still allows more than half a megabyte a second. The kernel uses twice
	// as much memory.
	sendBuffer = 64 << 10

	// The kernel asks a peer that was silent for keepIdle, or up to keepSpread longer,
	// every keepEvery. A peer that does not answer, or acknowledge, for leastUserTimeout is
	// gone. So one that is gone at once, and one that is when something was sent to it
	// just before, are noticed within 30 s, and two questions may be lost at least.
	keepIdle         = 9 * time.Second
	keepSpread       = 2 * time.Second
	keepEvery        = time.Second
	leastUserTimeout = 14 * time.Second

	// afterWrite is how much longer the kernel waits than a write: it counts a peer that is
	// there and takes nothing as one that does not acknowledge.
	afterWrite = 4 * time.Second
)

// userTimeout is how long the kernel waits for a peer that has the time write for a write.
func userTimeout(write time.Duration) time.Duration {
	if write > math.MaxInt64-afterWrite {
		return write
	}
	return max(leastUserTimeout, write+afterWrite)
}

// KeepAlive makes the kernel close the connection within 30 s after its peer has
// vanished, or later where a peer has more than 10 s for a write. It finds the TCP connection beneath [crypto/tls.Conn] and all others with
// a method NetConn, and does nothing if there is none.
//
// What thousands of connections were sent at the same time makes the kernel ask their
// peers at the same time, too. Over loopback, where proxies are, it loses what exceeds
// net.core.netdev_max_backlog, 1,000 by default: so they do not ask in the same second,
// and none ends for one question that was lost.
func KeepAlive(c net.Conn, write time.Duration) {
	tcp := beneath(c)
	if tcp == nil {
		return
	}
	idle := keepIdle + mathrand.N(keepSpread/time.Second+1)*time.Second // which the kernel counts in seconds
	// These calls fail only if the connection is gone, which the stream notices.
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: idle, Interval: keepEvery, Count: 3})
	setUserTimeout(tcp, userTimeout(write))
}

// LimitSendBuffer bounds the kernel's memory that a stalled reader takes. The
// connection must carry only the stream. It finds the TCP connection as [KeepAlive]
// does.
func LimitSendBuffer(c net.Conn) {
	if tcp := beneath(c); tcp != nil {
		_ = tcp.SetWriteBuffer(sendBuffer) // fails only if the connection is gone
	}
}

func beneath(c net.Conn) *net.TCPConn {
	for {
		under, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			tcp, _ := c.(*net.TCPConn)
			return tcp
		}
		c = under.NetConn()
	}
}

type connKey struct{}

// WithConn returns a context that tells [TuneRequest] the connection of a request.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// TuneRequest tunes the connection of a stream as Tune does, and returns it: nil if its
// context does not tell it.
func TuneRequest(r *http.Request, write time.Duration) net.Conn {
	c, ok := r.Context().Value(connKey{}).(net.Conn)
	if ok {
		Tune(c, r.ProtoMajor == 1, write) // HTTP/2 shares the connection, and has windows
	}
	return c
}

// Tune tunes a connection, whose peer has the time write for a write. alone says whether it
// carries only the stream.
func Tune(c net.Conn, alone bool, write time.Duration) {
	KeepAlive(c, write)
	if alone {
		LimitSendBuffer(c)
	}
}
