// Embed adds realtime to an app that is there already: with users who log in,
// teams that must not see each other's orders, and middleware.
//
//	go run ./examples/embed
//
// Ann and Carol are of the team acme, Bob is of globex; the password of all is
// "demo". What one of a team does, the others of it see at once, and nobody else.
//
// The file realtime.go was added to the app: it says who may do and see what. In
// the other files the added lines are marked "Added": they make and close the
// Realtime (here), mount it (app.go), announce two writes (orders.go), and cut off
// users who log out (session.go). In the page it is app.js from its import on.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

func main() { web.Main("embed", run) }

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	a := newApp()
	rt, err := realtime.New(a.policy(), web.Options()) // Added
	if err != nil {
		return err
	}
	a.rt = rt

	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, rt.Close(ctx))
	}
	fmt.Println("The app is ready:", web.URL(addr, ln.Addr()))
	srv := &http.Server{Handler: a.handler(), ReadHeaderTimeout: web.Slow(5 * time.Second)}
	return realtime.ServeListener(ctx, srv, rt, ln) // Added, in the place of srv.Serve: it ends rt in order, too
}
