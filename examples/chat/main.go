// Chat is a chat with rooms, a live roster and a look at the events behind it:
//
//	go run ./examples/chat
//
// Browsers publish over their WebSocket, or ask this server to do it for them.
// Everybody may do everything here; a real app puts its own [realtime.Policy] in
// the place of AllowAll.
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
	"strconv"
	"syscall"
	"time"

	"github.com/maravilla-realtime/realtime"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; port 0 takes any free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, addr string) error {
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, rt.Close(ctx))
	}
	srv := &http.Server{Handler: handler(rt), ReadHeaderTimeout: 5 * time.Second, ConnContext: realtime.ConnContext}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	fmt.Println("Chat is ready:", pageURL(addr, ln.Addr()))

	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// No new connections, then the streams are sent home, for which Shutdown waits;
	// the second Close waits for the WebSockets, for which it does not.
	srv.RegisterOnShutdown(func() { _ = rt.Close(ctx) })
	return errors.Join(err, srv.Shutdown(ctx), rt.Close(ctx))
}

// pageURL is where a browser finds a server that was told to listen on addr.
func pageURL(addr string, listening net.Addr) string {
	host, _, _ := net.SplitHostPort(addr) // net.Listen has read it
	if host == "" {
		host = "localhost"
	}
	port := listening.(*net.TCPAddr).Port
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/"
}
