// Package tcp tunes the TCP connections that streams run on.
package tcp

import (
	"net"
	"time"
)

const (
	// sendBuffer bounds the bytes on their way to one client: with a round trip of
	// 100 ms it still allows more than half a megabyte a second. The kernel uses twice
	// as much memory.
	sendBuffer = 64 << 10

	// The kernel probes a peer that was silent for keepIdle. A peer that does not
	// acknowledge for userTimeout is gone. The sum of the two is below 30 s.
	keepIdle    = 15 * time.Second
	keepEvery   = 5 * time.Second
	userTimeout = 10 * time.Second
)

// KeepAlive makes the kernel close the connection within 30 s after its peer has
// vanished. It finds the TCP connection beneath [crypto/tls.Conn] and all others with
// a method NetConn, and does nothing if there is none.
func KeepAlive(c net.Conn) {
	tcp := beneath(c)
	if tcp == nil {
		return
	}
	// These calls fail only if the connection is gone, which the stream notices.
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepEvery, Count: 3})
	setUserTimeout(tcp, userTimeout)
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
