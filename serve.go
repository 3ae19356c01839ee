package realtime

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/unused"
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
