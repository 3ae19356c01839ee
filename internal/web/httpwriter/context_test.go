package httpwriter_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
)

type key struct{}

// ask has a server call handler with a request, over HTTP/1 or 2.
func ask(t *testing.T, handler http.HandlerFunc, version int, configure func(*http.Server)) {
	t.Helper()
	called := false
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called = true
		handler(w, r)
	}))
	configure(srv.Config)
	if srv.EnableHTTP2 = version == 2; version == 2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/x/y")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !called || resp.ProtoMajor != version {
		t.Fatalf("%v over %s", called, resp.Proto)
	}
}

// The context of a request is recognised as the server's own as long as nobody puts
// anything around it, and its values are found in that of the connection.
func TestConnContext(t *testing.T) {
	value := func(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, "a middleware's") }
	cancelled := func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancel(ctx)
		t.Cleanup(cancel)
		return ctx
	}
	local := func(ctx context.Context) context.Context {
		return context.WithValue(ctx, http.LocalAddrContextKey, &net.TCPAddr{})
	}
	for name, c := range map[string]struct {
		around []func(context.Context) context.Context
		own    bool
	}{
		"the server's": {nil, true},
		"a value":      {[]func(context.Context) context.Context{value}, false},
		"cancel":       {[]func(context.Context) context.Context{cancelled}, false},
		"cancel twice": {[]func(context.Context) context.Context{cancelled, cancelled}, false},
		"a value beneath what looks like the server's": {[]func(context.Context) context.Context{value, cancelled, cancelled}, false},
		"an address beneath it":                        {[]func(context.Context) context.Context{local, cancelled, cancelled}, false},
		"both":                                         {[]func(context.Context) context.Context{value, local, cancelled, cancelled}, false},
		"a timeout": {[]func(context.Context) context.Context{func(ctx context.Context) context.Context {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			t.Cleanup(cancel)
			return ctx
		}}, false},
		"a cause": {[]func(context.Context) context.Context{func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancelCause(ctx)
			t.Cleanup(func() { cancel(nil) })
			return ctx
		}}, false},
		"without cancel": {[]func(context.Context) context.Context{context.WithoutCancel}, false},
		"another one":    {[]func(context.Context) context.Context{func(context.Context) context.Context { return context.Background() }}, false},
		"another type":   {[]func(context.Context) context.Context{func(ctx context.Context) context.Context { return struct{ context.Context }{ctx} }}, false},
		"none":           {[]func(context.Context) context.Context{func(context.Context) context.Context { return nil }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ask(t, func(_ http.ResponseWriter, r *http.Request) {
				ctx := r.Context()
				for _, f := range c.around {
					ctx = f(ctx)
				}
				conn := httpwriter.ConnContext(ctx)
				if (conn != nil) != c.own {
					t.Errorf("%v is the server's: %v, want %v", ctx, conn != nil, c.own)
				}
				if conn != nil && (conn.Value(http.ServerContextKey) == nil || conn.Done() != nil) {
					t.Errorf("%v", conn)
				}
			}, 1, func(*http.Server) {})
		})
	}
}

// What a host gives to all connections, or to each, is no reason to doubt: it lives as
// long as they do.
func TestConnContextOfHosts(t *testing.T) {
	ask(t, func(_ http.ResponseWriter, r *http.Request) {
		conn := httpwriter.ConnContext(r.Context())
		if conn == nil || conn.Value(key{}) != "the host's" || conn.Value(http.LocalAddrContextKey) == nil {
			t.Errorf("%v in %v", conn, r.Context())
		}
	}, 1, func(srv *http.Server) {
		srv.BaseContext = func(net.Listener) context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			return ctx
		}
		srv.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, key{}, "the host's"))
			t.Cleanup(cancel)
			return ctx
		}
		inner := srv.Handler
		mux := http.NewServeMux()
		mux.Handle("GET /x/{rest...}", http.MaxBytesHandler(http.StripPrefix("/x", inner), 1))
		srv.Handler = mux
	})
	for name, ctx := range map[string]context.Context{"no server's": context.Background(), "a test's": httptest.NewRequest("GET", "/", nil).Context()} {
		if httpwriter.ConnContext(ctx) != nil {
			t.Error(name)
		}
	}
}

// HTTP/2 has contexts of its own. Its connections cannot be taken over.
func TestConnContextHTTP2(t *testing.T) {
	ask(t, func(w http.ResponseWriter, r *http.Request) {
		if httpwriter.ConnContext(r.Context()) != nil && httpwriter.IsServers(w) {
			t.Error("it is taken for one of HTTP/1")
		}
	}, 2, func(*http.Server) {})
}
