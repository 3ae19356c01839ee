// Chat is a chat with rooms, a live roster and a view of the raw events:
//
//	go run ./examples/chat
//
// With -inspector the page for operators is at /inspector/, for browsers of this machine.
//
// Browsers publish over their WebSocket, or ask this server to do it for them.
// Everybody may do everything here; a real app puts its own [realtime.Policy] in
// the place of AllowAll.
package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/inspector"
)

func main() { web.Main("chat", run) }

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	opts := web.Options()
	opts.History.Age = 24 * time.Hour // for those who come later, and scroll back
	rt, err := realtime.New(realtime.AllowAll(), opts)
	if err != nil {
		return err
	}
	return web.Serve(ctx, "Chat", addr, rt, inspected(rt, handler(rt)))
}

var inspect = flag.Bool("inspector", false, "serve the inspector at /inspector/, to this machine only")

// inspected adds the inspector, if the operator wants it.
func inspected(rt *realtime.Realtime, app http.Handler) http.Handler {
	if !*inspect {
		return app
	}
	mux := http.NewServeMux()
	mux.Handle("/", app)
	mux.Handle("/inspector/", inspector.Handler(rt, func(r *http.Request) error {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		host, _, _ := net.SplitHostPort(r.Host) // not that of a page whose name was made to resolve to this machine
		if err != nil || !peer.Addr().IsLoopback() || host != "localhost" && host != "127.0.0.1" {
			return errors.New("only from this machine")
		}
		return nil
	}))
	return mux
}
