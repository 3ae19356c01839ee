package realtime

import (
	"context"
	"net"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/tcp"
)

type netConnKey struct{}

// ConnContext is for [http.Server.ConnContext]. It lets streams tune the
// connections they run on, and leaves all others alone:
//
//   - A peer that vanishes, its network with it, is given up within 30 s. Without
//     this, heartbeats are written for a quarter of an hour before the kernel
//     reports that nobody acknowledges them. (Linux only.)
//   - A reader that stalls holds a small part of the kernel's memory, where it
//     otherwise holds megabytes. (HTTP/1.1; HTTP/2 has windows.)
//
// The connection of a WebSocket is the library's, and is tuned in any case.
//
// It finds TCP beneath [tls.Conn] and whatever else has a method NetConn, and
// does nothing on other connections.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, netConnKey{}, c)
}

// tuneRequest does for the connection of a stream what ConnContext promises, and
// returns the connection: nil without ConnContext.
func tuneRequest(r *http.Request) net.Conn {
	c, ok := r.Context().Value(netConnKey{}).(net.Conn)
	if ok {
		tune(c, r.ProtoMajor == 1) // HTTP/2 shares the connection, and has windows
	}
	return c
}

// tune does it for a connection, which is the stream's alone or not.
func tune(c net.Conn, alone bool) {
	tcp.KeepAlive(c)
	if alone {
		tcp.LimitSendBuffer(c)
	}
}
