package frameworktest

import (
	"net"
	"net/http"
	"testing"
	"time"

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
			go func() { _ = f.Listener(l) }()
			t.Cleanup(func() { _ = f.ShutdownWithTimeout(time.Second) })
		},
		"v3": func(t *testing.T, h http.Handler, l net.Listener) {
			f := fiber.New()
			f.Get("/api/*", adaptor.HTTPHandler(h))
			go func() { _ = f.Listener(l, fiber.ListenConfig{DisableStartupMessage: true}) }()
			t.Cleanup(func() { _ = f.ShutdownWithTimeout(time.Second) })
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
