package web_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

func TestFiles(t *testing.T) {
	files := web.Files(fstest.MapFS{"page/index.html": {Data: []byte("<!doctype html>")}, "secret.txt": {}})
	for path, want := range map[string]string{
		"/":                "text/html; charset=utf-8",
		"/shared/base.css": "text/css; charset=utf-8",
		"/shared/ui.js":    "text/javascript; charset=utf-8",
		"/shared/icon.svg": "image/svg+xml",
		"/secret.txt":      "",
	} {
		w := httptest.NewRecorder()
		files.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := w.Header().Get("Content-Type"); (w.Code == http.StatusOK) != (want != "") || want != "" && got != want {
			t.Errorf("GET %s: %d, %s; want %q", path, w.Code, got, want)
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self'") {
			t.Errorf("GET %s: Content-Security-Policy %q", path, got)
		}
	}
}

// Over a loopback address only this machine's own names are served.
func TestLocal(t *testing.T) {
	local := web.Local(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, c := range []struct {
		at, host string
		refused  bool
	}{
		{"127.0.0.1:8080", "localhost:8080", false},
		{"127.0.0.1:8080", "LOCALHOST.", false},
		{"127.0.0.1:8080", "app.localhost:8080", false},
		{"[::1]:8080", "[::1]:8080", false},
		{"[::1]:8080", "[::1]", false},
		{"127.0.0.1:8080", "127.8.9.10", false},
		{"127.0.0.1:8080", "rebind.test:8080", true},
		{"[::1]:8080", "rebind.test", true},
		{"[::ffff:127.0.0.1]:8080", "rebind.test", true},
		{"127.0.0.1:8080", "localhost.rebind.test", true},
		{"127.0.0.1:8080", "0.0.0.0:8080", true},
		{"127.0.0.1:8080", "", true},
		{"192.0.2.1:8080", "rebind.test", false}, // it is not on this machine only
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Host = c.host
		at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.at))
		w := httptest.NewRecorder()
		local.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at))))
		if (w.Code == http.StatusMisdirectedRequest) != c.refused {
			t.Errorf("%q at %s: %d", c.host, c.at, w.Code)
		}
	}
}

func TestReadJSON(t *testing.T) {
	for _, c := range []struct {
		kind, body string
		want       int
	}{
		{"application/json; charset=utf-8", `{"a":1}`, 200},
		{"text/plain", `{"a":1}`, 415},
		{"", `{"a":1}`, 415},
		{"application/json", `{"a":`, 400},
		{"application/json", `{"a":"` + strings.Repeat("x", 17<<10) + `"}`, 413},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		var in any
		if ok := web.ReadJSON(w, r, &in); ok != (c.want == 200) || w.Code != c.want {
			t.Errorf("%s %.20s: %v, %d; want %d", c.kind, c.body, ok, w.Code, c.want)
		}
	}
}

// A body that does not end is not waited for.
func TestEndlessBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, conn := net.Pipe()
		ln := &oneConn{conns: make(chan net.Conn, 1)}
		ln.conns <- conn
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var in any
			web.ReadJSON(w, r, &in)
		})}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		began := time.Now()
		fmt.Fprint(client, "POST /api/say HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || resp.StatusCode != http.StatusRequestTimeout || time.Since(began) != 10*time.Second {
			t.Errorf("%v %v after %v", resp, err, time.Since(began))
		}
		client.Close()
		srv.Close()
		<-served
	})
}

// oneConn is a listener of one connection.
type oneConn struct{ conns chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { close(l.conns); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// A server that cannot begin leaves nothing open.
func TestServeFails(t *testing.T) {
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := web.Serve(t.Context(), "It", "localhost:-1", rt, nil); err == nil {
		t.Error("it served at port -1")
	}
	if err := rt.Emit(context.Background(), realtime.KVPut("a", "b")); err == nil {
		t.Error("the Realtime was not closed")
	}
}

func TestURL(t *testing.T) {
	at := &net.TCPAddr{IP: net.IPv6loopback, Port: 4711}
	for addr, want := range map[string]string{
		"localhost:8080": "http://localhost:4711/",
		":0":             "http://localhost:4711/",
		"[::1]:0":        "http://[::1]:4711/",
	} {
		if got := web.URL(addr, at); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
