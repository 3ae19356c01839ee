package realtime_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/pace"
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

// Streams tune the connections they run on, and pages theirs not.
func TestConnContext(t *testing.T) {
	const tcpUserTimeout = 18
	for _, c := range []struct {
		name          string
		tls, http2    bool
		path          string
		buffer, alive bool // whether they are tuned
	}{
		{name: "REN", path: "/ren", buffer: true, alive: true},
		{name: "REN over TLS", path: "/ren", tls: true, buffer: true, alive: true},
		{name: "REN over HTTP/2", path: "/ren", tls: true, http2: true, alive: true},
		{name: "WebSocket", path: "/realtime", buffer: true, alive: true},
		{name: "page", path: "/realtime.js"},
		{name: "refused", path: "/ren?s=!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := prepare(t, open(), nil)
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
			if got := option(t, conn, syscall.IPPROTO_TCP, tcpUserTimeout); (got == 10_000) != c.alive {
				t.Errorf("the user timeout is %d", got)
			}
			idle := option(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
			every := option(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
			if c.alive && (idle != 15 || every != 5) {
				t.Errorf("asked after %d s, every %d s", idle, every)
			}
		})
	}
}

// counted is a connection that counts what its kernel has taken.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) NetConn() net.Conn { return c.Conn }

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

type countedListener struct {
	net.Listener
	n atomic.Int64
}

func (l *countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return counted{c, &l.n}, nil
}

// What a reader that has stalled hides in the kernel's buffers, its own being
// small. With -v it prints the figures of docs/reliability.md.
func TestStalledReaderHidesLittle(t *testing.T) {
	hidden := func(t *testing.T, kind string, helper bool) int64 {
		h := prepare(t, open(), &realtime.Options{WriteTimeout: pace.Slow(300 * time.Millisecond)})
		defer h.Close(context.Background())
		if helper {
			h.server.ConnContext = realtime.ConnContext
		}
		given := make(chan struct{}) // up, the client that reads nothing
		h.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.handler.ServeHTTP(w, r)
			close(given)
		})
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ln := &countedListener{Listener: inner}
		var serving sync.WaitGroup
		serving.Go(func() { _ = h.server.Serve(ln) })
		defer serving.Wait()
		defer h.server.Close()

		cursor := string(h.Cursor())
		for range 60 {
			h.publish("room", strings.Repeat("x", 100_000))
		}
		dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		}}
		client, err := dialer.DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
		if kind == "REN" {
			fmt.Fprintf(client, "GET /ren?lastEventId=%s HTTP/1.1\r\nHost: h\r\n\r\n", cursor)
		} else {
			ws, _, err := websocket.Dial(t.Context(), "ws://h/realtime", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range []string{`{"op":"hello","cid":"` + tab1 + `"}`, `{` + since("room", cursor) + `}`} {
				if err := ws.Write(t.Context(), websocket.MessageText, []byte(op)); err != nil {
					t.Fatal(err)
				}
			}
		}
		<-given
		return ln.n.Load()
	}
	for _, kind := range []string{"REN", "WebSocket"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			with, without := hidden(t, kind, true), hidden(t, kind, false)
			t.Logf("a stalled reader hides %d KiB with ConnContext, %d KiB without", with>>10, without>>10)
			if with > 256<<10 {
				t.Errorf("%d bytes with ConnContext", with)
			}
		})
	}
}
