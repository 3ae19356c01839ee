package realtime_test

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
)

// option reads an option of a server's connection.
func option(t *testing.T, c net.Conn, level, name int) (value int) {
	t.Helper()
	if under, ok := c.(*tls.Conn); ok {
		c = under.NetConn()
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, name) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

type tuned struct {
	name          string
	tls, http2    bool
	path          string
	buffer, alive bool // whether they are tuned
	write         time.Duration
}

var tunedWhere = []tuned{
	{name: "REN", path: "/ren", buffer: true, alive: true},
	{name: "REN over TLS", path: "/ren", tls: true, buffer: true, alive: true},
	{name: "REN over HTTP/2", path: "/ren", tls: true, http2: true, alive: true},
	{name: "WebSocket", path: "/realtime", buffer: true, alive: true},
	{name: "REN with more time to write", path: "/ren", buffer: true, alive: true, write: time.Minute},
	{name: "WebSocket with more time to write", path: "/realtime", buffer: true, alive: true, write: time.Minute},
	{name: "REN over TLS with any time to write", path: "/ren", tls: true, buffer: true, alive: true, write: math.MaxInt64},
	{name: "page", path: "/realtime.js"},
	{name: "refused", path: "/ren?s=!"},
}

// patience is how long the kernel must wait, in milliseconds: longer than a write.
func (c *tuned) patience() int {
	switch c.write {
	case 0:
		return 14_000
	case math.MaxInt64:
		return math.MaxInt32
	}
	return int((c.write + 4*time.Second).Milliseconds())
}

// Streams tune the connections they run on, and pages theirs not.
func TestConnContext(t *testing.T) {
	t.Parallel()
	const tcpUserTimeout = 18
	for _, c := range tunedWhere {
		t.Run(c.name, func(t *testing.T) {
			h := prepare(t, open(), &realtime.Options{WriteTimeout: c.write})
			defer h.Close(t.Context())
			conns := make(chan net.Conn, 1)
			server := httptest.NewUnstartedServer(h.handler)
			server.EnableHTTP2 = c.http2
			server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
				conns <- conn
				return realtime.ConnContext(ctx, conn)
			}
			if c.tls {
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.path == "/realtime" {
				ws, _, err := websocket.Dial(ctx, server.URL+c.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer ws.CloseNow()
			} else {
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+c.path, nil)
				resp, err := server.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
			}
			conn := <-conns
			if got := option(t, conn, syscall.SOL_SOCKET, syscall.SO_SNDBUF); (got == 128<<10) != c.buffer {
				t.Errorf("the send buffer is %d", got)
			}
			if got := option(t, conn, syscall.IPPROTO_TCP, tcpUserTimeout); (got == c.patience()) != c.alive {
				t.Errorf("the user timeout is %d", got)
			}
			idle := option(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
			every := option(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
			if c.alive && (idle < 9 || idle > 11 || every != 1) { // three questions at least, before the user timeout
				t.Errorf("asked after %d s, every %d s", idle, every)
			}
		})
	}
}
