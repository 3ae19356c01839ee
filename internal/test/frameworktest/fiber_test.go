package frameworktest

import (
	"net"
	"net/http"
	"testing"

	fiber2 "github.com/gofiber/fiber/v2"
	adaptor2 "github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
)

// Fiber's server is not net/http's. Its adaptor goes on using the memory of a
// request while the handler runs, and has no deadlines: both streams are refused.
func TestFiber(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, http.Handler, net.Listener){
		"v2": func(t *testing.T, h http.Handler, l net.Listener) {
			f := fiber2.New(fiber2.Config{DisableStartupMessage: true})
			f.Get("/api/*", adaptor2.HTTPHandler(h))
			serveUntilClosed(t, l, func() { _ = f.Listener(l) })
		},
		"v3": func(t *testing.T, h http.Handler, l net.Listener) {
			f := fiber.New()
			f.Get("/api/*", adaptor.HTTPHandler(h))
			serveUntilClosed(t, l, func() { _ = f.Listener(l, fiber.ListenConfig{DisableStartupMessage: true}) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApp(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			serve(t, a.handler(), l)
			for _, path := range []string{"/api/realtime", "/api/ren"} {
				a.refuses("http://"+l.Addr().String(), path, "*fasthttpadaptor.")
			}
		})
	}
}

// serveUntilClosed runs a server until the end of the test closes its listener. Its
// own Shutdown would write what requests read that have just ended, which the race
// detector reports (fasthttp 1.69).
func serveUntilClosed(t *testing.T, l net.Listener, serve func()) {
	ended := make(chan struct{})
	go func() { defer close(ended); serve() }()
	t.Cleanup(func() { l.Close(); <-ended })
}
