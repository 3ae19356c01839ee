// Embed adds realtime to an app that is there already: with users who log in,
// teams that must not see each other's orders, and middleware.
//
//	go run ./examples/embed
//
// Ann and Carol are of the team acme, Bob is of globex; the password of all is
// "demo". What one of a team does, the others of it see at once, and nobody else.
//
// What was added to the app is realtime.go, which says who may do and see what,
// and what is marked "Added" in the other files: making the Realtime and closing
// it (here), mounting it (app.go), announcing two writes (orders.go), and cutting
// off who logs out (session.go). In the page it is app.js from its import on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; port 0 takes any free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	a := newApp()
	rt, err := realtime.New(a.policy(), nil) // Added
	if err != nil {
		return err
	}
	a.rt = rt

	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, rt.Close(ctx))
	}
	srv := &http.Server{
		Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second,
		ConnContext: realtime.ConnContext, // Added: dead and stalled readers cost less
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	fmt.Println("The app is ready:", web.URL(addr, ln.Addr()))

	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	srv.RegisterOnShutdown(func() { _ = rt.Close(ctx) })      // Added: sends the streams home, which Shutdown waits for
	return errors.Join(err, srv.Shutdown(ctx), rt.Close(ctx)) // Added: the last one waits for the WebSockets
}
