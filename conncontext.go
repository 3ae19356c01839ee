package realtime

import (
	"context"
	"net"
	"net/http"
	"time"
)

type netConnKey struct{}

// ConnContext is for [http.Server.ConnContext]. It lets streams tune the
// connections they run on, and leaves all others alone:
//
//   - A peer that vanishes, its network with it, is given up within 30 s. Without
//     this, heartbeats are written for a quarter of an hour before the kernel
//     reports that nobody acknowledges them. (Linux only; a WebSocket finds out
//     by itself.)
//   - A reader that stalls holds a small part of the kernel's memory, where it
//     otherwise holds megabytes. (HTTP/1.1 and WebSocket; HTTP/2 has windows.)
//
// It finds TCP beneath [tls.Conn] and whatever else has a method NetConn, and
// does nothing on other connections.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, netConnKey{}, c)
}

const (
	// sendBuffer is what is on its way to one client at most, in bytes: a round
	// trip of 100 ms still allows more than half a megabyte a second. The kernel
	// takes twice as much for it.
	sendBuffer = 64 << 10

	// A silent peer is asked after keepIdle whether it is there. One that does not
	// acknowledge for userTimeout is gone; the two together stay below 30 s.
	keepIdle    = 15 * time.Second
	keepEvery   = 5 * time.Second
	userTimeout = 10 * time.Second
)

// tune does for the connection of a stream what ConnContext promises.
func tune(r *http.Request) {
	c, _ := r.Context().Value(netConnKey{}).(net.Conn)
	for {
		under, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = under.NetConn()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	// What fails here fails on a connection that is gone, which the stream notices.
	if r.ProtoMajor == 1 {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepEvery, Count: 3})
	setUserTimeout(tcp, userTimeout)
}
