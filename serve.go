package realtime

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/tcp"
	"github.com/maravilla-realtime/realtime/internal/web/unused"
)

// serveTime is the most time that Serve takes to shut down.
const serveTime = 10 * time.Second

// Serve runs srv on srv.Addr until ctx ends, then shuts down both srv and rt:
// it accepts no new connections, ends streams and WebSockets like [Realtime.Close],
// waits for requests that are being answered, and closes rt. It takes at most 10 s for
// that, and then drops the rest. If only browser tabs are connected, it takes well
// under half a second.
//
//	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//	defer stop()
//	err := realtime.Serve(ctx, &http.Server{Addr: ":8080", Handler: app}, rt)
//
// It serves TLS if srv.TLSConfig has a certificate. It adds [ConnContext] to
// srv.ConnContext. The context of requests does not end with ctx. Serve also ends if
// other code shuts srv down.
//
// Serve closes rt in any case, even if it cannot listen. The error is nil after
// an orderly shutdown, otherwise that of listening, serving, [http.Server.Shutdown]
// or Close. It must be called once for a srv.
func Serve(ctx context.Context, srv *http.Server, rt *Realtime) error {
	addr := srv.Addr
	switch {
	case addr != "":
	case servesTLS(srv):
		addr = ":https"
	default:
		addr = ":http"
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveTime)
		defer cancel()
		return errors.Join(err, rt.Close(down))
	}
	return ServeListener(ctx, srv, rt, ln)
}

// ServeListener is [Serve] on a listener of the caller's, which it closes.
func ServeListener(ctx context.Context, srv *http.Server, rt *Realtime, ln net.Listener) error {
	fresh := unused.Watch(srv)
	addConnContext(srv)
	ended := make(chan error, 1)
	go func() {
		if servesTLS(srv) {
			ended <- srv.ServeTLS(ln, "", "")
		} else {
			ended <- srv.Serve(ln)
		}
	}()
	select {
	case err := <-ended:
		ended <- err
	case <-ctx.Done():
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveTime)
	defer cancel()
	// Shutdown waits for streams, which Close ends, but not for connections that were
	// taken over from net/http: the second Close waits for those.
	srv.RegisterOnShutdown(fresh.Close)
	srv.RegisterOnShutdown(func() { _ = rt.Close(down) })
	err := srv.Shutdown(down)
	if err != nil {
		_ = srv.Close() // drops requests that do not end; Shutdown has returned why
	}
	err = errors.Join(err, rt.Close(down))
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(served, err)
	}
	return err
}

func servesTLS(srv *http.Server) bool {
	c := srv.TLSConfig
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

func addConnContext(srv *http.Server) {
	hosts := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if ctx = ConnContext(ctx, c); hosts != nil {
			ctx = hosts(ctx, c)
		}
		return ctx
	}
}

// ConnContext is for [http.Server.ConnContext]. It lets streams tune the
// connections they run on, and does not change other connections:
//
//   - A connection whose peer has vanished with its network ends within 30 s, and with
//     a longer [Options].WriteTimeout than 10 s by so much later. Without this, heartbeats are written for a quarter of an hour before the kernel
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
