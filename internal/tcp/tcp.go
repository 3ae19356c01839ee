// Package tcp tunes the TCP connections that streams run on.
package tcp

import (
	"net"
	"time"
)

const (
	// sendBuffer is the most that is on its way to one client, in bytes: a round
	// trip of 100 ms still allows more than half a megabyte a second. The kernel
	// takes twice as much for it.
	sendBuffer = 64 << 10

	// A silent peer is asked after keepIdle whether it is there. One that does not
	// acknowledge for userTimeout is gone; the two together stay below 30 s.
	keepIdle    = 15 * time.Second
	keepEvery   = 5 * time.Second
	userTimeout = 10 * time.Second
)

// KeepAlive has the kernel give up a peer that vanished within 30 s. It finds the
// TCP connection beneath [crypto/tls.Conn] and all others with a method NetConn,
// and does nothing where there is none.
func KeepAlive(c net.Conn) {
	tcp := beneath(c)
	if tcp == nil {
		return
	}
	// What fails here fails on a connection that is gone, which the stream notices.
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepEvery, Count: 3})
	setUserTimeout(tcp, userTimeout)
}

// LimitSendBuffer bounds how much of the kernel's memory a reader that stalls
// holds. The connection must carry nothing but the stream. It finds the TCP
// connection as [KeepAlive] does.
func LimitSendBuffer(c net.Conn) {
	if tcp := beneath(c); tcp != nil {
		_ = tcp.SetWriteBuffer(sendBuffer) // fails where the connection is gone
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
