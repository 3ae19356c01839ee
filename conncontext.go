package realtime

import (
	"context"
	"net"

	"github.com/maravilla-realtime/realtime/internal/tcp"
)

// ConnContext is for [http.Server.ConnContext]. It lets streams tune the
// connections they run on, and does not change other connections:
//
//   - A connection whose peer has vanished with its network ends within 30 s. Without
//     this, heartbeats are written for a quarter of an hour before the kernel
//     reports that they are not acknowledged. (Linux only.)
//   - A stalled reader takes a small part of the kernel's memory, instead of
//     megabytes. (HTTP/1.1; HTTP/2 has windows.)
//
// The connections of WebSockets, and those of streams that have left net/http (see
// [Hijack]), belong to the library, and are tuned in any case.
//
// ConnContext finds TCP beneath [tls.Conn] and other types with a method NetConn, and
// does nothing on other connections.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return tcp.WithConn(ctx, c)
}
