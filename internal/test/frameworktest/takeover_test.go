package frameworktest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	echo4 "github.com/labstack/echo/v4"
	"github.com/labstack/echo/v5"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

type tenantKey struct{}

// tenants is a middleware that puts the tenant of a request into its context, and takes it
// out again when the handler has returned, as routers do with what they use again.
func tenants(tenant func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := tenant(r)
		defer func() { name = "nobody's" }()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tenantKey{}, &name)))
	})
}

func byContext(ctx context.Context, _ *http.Request) string { return *ctx.Value(tenantKey{}).(*string) }

func byPath(_ context.Context, r *http.Request) string { return strings.Split(r.URL.Path, "/")[2] }

// valueCases are values of a request that a framework takes back when its handler returns.
var valueCases = []struct {
	name   string
	serve  func(http.Handler) http.Handler
	tenant func(context.Context, *http.Request) string // the policy's, of Allow's context or Authenticate's request
	taken  bool
}{
	{"net/http", func(h http.Handler) http.Handler { return h }, byPath, true},
	{"net/http, ServeMux", func(h http.Handler) http.Handler {
		m := http.NewServeMux()
		m.Handle("GET /api/{tenant}/realtime", h)
		return m
	}, func(_ context.Context, r *http.Request) string { return r.PathValue("tenant") }, true},
	{"net/http, StripPrefix", func(h http.Handler) http.Handler {
		m := http.NewServeMux()
		m.Handle("/api/", http.StripPrefix("/api", h))
		return m
	}, func(_ context.Context, r *http.Request) string { return strings.Split(r.URL.Path, "/")[1] }, true},
	{"net/http, a path that is put back", func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path := r.URL.Path
			r.URL.Path = "/x" + path
			r.Header.Set("X-Tenant", strings.Split(path, "/")[2])
			h.ServeHTTP(w, r)
			r.URL.Path = path
			r.Header.Del("X-Tenant")
		})
	}, func(_ context.Context, r *http.Request) string {
		if !strings.HasPrefix(r.URL.Path, "/x/") {
			return "nobody's"
		}
		return r.Header.Get("X-Tenant")
	}, true},
	{"net/http, values", func(h http.Handler) http.Handler {
		return tenants(func(r *http.Request) string { return byPath(r.Context(), r) }, h)
	}, byContext, false},
	{"net/http, values and WithCancel", func(h http.Handler) http.Handler {
		return tenants(func(r *http.Request) string { return byPath(r.Context(), r) }, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			ctx, cancel = context.WithCancel(ctx)
			defer cancel()
			h.ServeHTTP(w, r.WithContext(ctx))
		}))
	}, byContext, false},
	{"net/http, limited body", func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 1<<10) }, byPath, false},
	{"chi", func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Handle("/api/{tenant}/realtime", h)
		return r
	}, func(ctx context.Context, r *http.Request) string {
		if r != nil {
			ctx = r.Context()
		}
		return chi.URLParamFromCtx(ctx, "tenant")
	}, false},
	{"gorilla", func(h http.Handler) http.Handler {
		r := mux.NewRouter()
		r.Handle("/api/{tenant}/realtime", h)
		return r
	}, func(ctx context.Context, r *http.Request) string {
		if r == nil {
			r = httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		}
		return mux.Vars(r)["tenant"]
	}, false},
	{"gin", func(h http.Handler) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		e := gin.New()
		e.GET("/api/:tenant/realtime", func(c *gin.Context) {
			tenants(func(*http.Request) string { return c.Param("tenant") }, h).ServeHTTP(c.Writer, c.Request)
		})
		return e
	}, byContext, false},
	{"echo v4", func(h http.Handler) http.Handler {
		e := echo4.New()
		e.GET("/api/:tenant/realtime", func(c echo4.Context) error {
			tenants(func(*http.Request) string { return c.Param("tenant") }, h).ServeHTTP(c.Response(), c.Request())
			return nil
		})
		return e
	}, byContext, false},
	{"echo v5", func(h http.Handler) http.Handler {
		e := echo.New()
		e.GET("/api/:tenant/realtime", func(c *echo.Context) error {
			tenants(func(*http.Request) string { return c.Param("tenant") }, h).ServeHTTP(c.Response(), c.Request())
			return nil
		})
		return e
	}, byContext, false},
}

// Each router has its own way to tell the policy which tenant a request is for. It gets
// the same answer for as long as a WebSocket is open, whatever other requests come in
// between: where the router's answer ends with its handler, the WebSocket keeps that.
func TestValuesOfOpenWebSockets(t *testing.T) {
	for _, c := range valueCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			checkTenants(t, c.serve, c.tenant, c.taken && runtime.GOOS == "linux")
		})
	}
}

// tenantOf is a policy function's, which has one of the two.
type tenantOf func(context.Context, *http.Request) string

// checkTenants has clients of some tenants subscribe, which only works in their own.
func checkTenants(t *testing.T, serve func(http.Handler) http.Handler, tenant tenantOf, taken bool) {
	rt, err := realtime.New(tenantPolicy(tenant), nil)
	if err != nil {
		t.Fatal(err)
	}
	const clients = 8
	returned := make(chan struct{}, clients) // from handlers
	allReturned := func() {
		for range clients {
			<-returned
		}
	}
	inner := rt.WebSocketHandler()
	srv := httptest.NewServer(serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { returned <- struct{}{} }()
		inner.ServeHTTP(w, r)
	})))
	t.Cleanup(srv.Close)
	ctx, cancel := pace.WithTimeout(t.Context(), patience)
	defer cancel()
	sockets := make(map[string]*websocket.Conn)
	for i := range clients {
		name := fmt.Sprintf("tenant%d", i)
		ws, _, err := websocket.Dial(ctx, srv.URL+"/api/"+name+"/realtime?auth=hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		sockets[name] = ws
	}
	if taken {
		allReturned()
	}
	subscribeTenants(t, ctx, sockets)
	if n := len(returned); n > 0 {
		t.Errorf("the handlers of %d open WebSockets have returned", n)
	}
	for _, ws := range sockets {
		ws.CloseNow()
	}
	(&app{Realtime: rt, t: t}).close()
	if !taken {
		allReturned()
	}
}

// tenantPolicy allows each tenant the channel of its name.
func tenantPolicy(tenant tenantOf) realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			return realtime.Identity{Claims: tenant(r.Context(), r)}, nil
		},
		Allow: func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			if of, ok := ctx.Value(tenantKey{}).(*string); ok && *of != a.Name || id.Claims != a.Name {
				return fmt.Errorf("tenant %v may not have %s", id.Claims, a.Name)
			}
			return nil
		},
	}
}

// subscribeTenants has each client say hello and subscribe, twice.
func subscribeTenants(t *testing.T, ctx context.Context, sockets map[string]*websocket.Conn) {
	t.Helper()
	for _, hello := range []string{`{"op":"hello","cid":"0123456789abcdef","token":"x"}`, `{"op":"hello","ref":1,"token":"y"}`} {
		for name, ws := range sockets {
			for _, op := range []string{hello, fmt.Sprintf(`{"op":"subscribe","ref":2,"channel":"%s"}`, name)} {
				if err := ws.Write(ctx, websocket.MessageText, []byte(op)); err != nil {
					t.Fatal(err)
				}
			}
			for told := false; !told; {
				_, msg, err := ws.Read(ctx)
				if err != nil || strings.Contains(string(msg), `"error"`) {
					t.Fatalf("%s: %s, %v", name, msg, err)
				}
				told = strings.Contains(string(msg), `"subscribed"`)
			}
		}
	}
}
