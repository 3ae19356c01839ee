package realtime_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/storage"
)

// app is a host's, with everything that the library has for one.
func wholeApp(t *testing.T, rt *realtime.Realtime) http.Handler {
	t.Helper()
	dir, err := storage.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.Handle("/events", rt.RenHandler())
	mux.Handle("/ws", rt.WebSocketHandler())
	mux.Handle("/api/storage/", storage.Handler(rt, storage.New(rt, dir, nil), &storage.HandlerOptions{Logger: slog.New(slog.DiscardHandler)}))
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.Handle("/labelled", rt.Attribute(ok))
	mux.Handle("/shared", rt.CORS(ok))
	mux.HandleFunc("/asked", func(w http.ResponseWriter, r *http.Request) {
		if _, err := rt.Authorize(r, realtime.Action{Verb: realtime.VerbPublish, Name: "room"}); err != nil {
			realtime.WriteError(w, err)
			return
		}
		ok(w, r)
	})
	return mux
}

// routes are requests of each kind. None of them may be answered to a page whose
// own name was made to resolve to the server's address.
var routes = []struct {
	method, path string
	header       []string
}{
	{"GET", "/api/maravilla/ren", nil},
	{"GET", "/api/maravilla/realtime", upgrade},
	{"GET", "/api/maravilla/realtime?auth=hello", upgrade},
	{"GET", "/api/maravilla/realtime.js", nil},
	{"GET", "/api/maravilla/else", nil},
	{"OPTIONS", "/api/maravilla/ren", []string{"Origin", app, "Access-Control-Request-Method", "GET"}},
	{"GET", "/events", nil},
	{"OPTIONS", "/events", nil},
	{"GET", "/ws", upgrade},
	{"GET", "/api/storage/download?path=a", nil},
	{"POST", "/api/storage/upload?path=a", nil},
	{"DELETE", "/api/storage/delete?path=a", nil},
	{"OPTIONS", "/api/storage/upload?path=a", []string{"Origin", app, "Access-Control-Request-Method", "POST"}},
	{"GET", "/labelled", nil},
	{"POST", "/labelled", nil},
	{"GET", "/shared", nil},
	{"OPTIONS", "/shared", []string{"Origin", app, "Access-Control-Request-Method", "PUT"}},
	{"GET", "/asked", nil},
	{"POST", "/asked", nil},
}

// arriving is what a server hands over of a connection to an address.
func arriving(method, path, host string, local net.Addr, header ...string) *http.Request {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that streams end at once
	r := httptest.NewRequest(method, path, nil)
	if local != nil {
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, local)
	}
	r = r.WithContext(ctx)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin") // as browsers see it
	return r
}

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 8080} }

func TestHostsOfAllRoutes(t *testing.T) {
	t.Parallel()
	listed := open()
	listed.Hosts = []string{"app.example.com"}
	listed.Origins = []string{app}
	demo := realtime.AllowAll()
	demo.Origins = []string{app}
	for _, c := range []struct {
		name       string
		policy     realtime.Policy
		good, evil string
	}{
		{"listed", listed, "app.example.com", "rebind.test"},
		{"AllowAll", demo, "localhost:8080", "rebind.test:8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := prepare(t, c.policy, nil).Realtime
			h := wholeApp(t, rt)
			for _, route := range routes {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, arriving(route.method, route.path, c.evil, tcp("127.0.0.1"), route.header...))
				f := testkit.ParseRefusal(t, w.Body.Bytes())
				if w.Code != http.StatusMisdirectedRequest || f.Code != "host" || *f.Retry || w.Header().Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s %s: %d %+v %v", route.method, route.path, w.Code, f, w.Header())
				}
				w = httptest.NewRecorder()
				h.ServeHTTP(w, arriving(route.method, route.path, c.good, tcp("127.0.0.1"), route.header...))
				if w.Code == http.StatusMisdirectedRequest {
					t.Errorf("%s %s of %s: %d %s", route.method, route.path, c.good, w.Code, w.Body)
				}
			}
		})
	}
}

// The list of the policy counts for requests: see package site for the forms of hosts.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		hosts []string
		host  string
		want  bool
	}{
		{[]string{"app.example.com"}, "APP.Example.com.:8443", true},
		{[]string{"app.example.com"}, "evil.test", false},
		{[]string{"app.example.com"}, "app.example.com.evil.test", false},
		{[]string{"app.example.com"}, "", false},
		{[]string{"app.example.com"}, "127.0.0.1", false},
		{[]string{"app.example.com:8443"}, "app.example.com", false},
		{[]string{"other.example", "[::1]:8080"}, "[0:0::1]:8080", true},
	} {
		p := realtime.AllowAll() // its rule for loopback addresses does not count where there is a list
		p.Hosts = c.hosts
		rt := prepare(t, p, nil).Realtime
		w := httptest.NewRecorder()
		rt.Handler().ServeHTTP(w, arriving("GET", "/realtime.js", c.host, tcp("127.0.0.1")))
		if got := w.Code == http.StatusOK; got != c.want {
			t.Errorf("%q for %q: %d", c.hosts, c.host, w.Code)
		}
	}
}

// Without a list: which policy, which address and which name are let in.
func TestHostsWithoutAList(t *testing.T) {
	for _, c := range []struct {
		host  string
		local net.Addr
		want  bool
	}{
		{"localhost:8080", tcp("127.0.0.1"), true},
		{"LOCALHOST.", tcp("::1"), true},
		{"app.localhost", tcp("127.0.0.1"), true},
		{"a.b.localhost.:8080", tcp("127.0.0.1"), true},
		{"127.0.0.1:8080", tcp("127.0.0.1"), true},
		{"127.8.9.10", tcp("127.0.0.1"), true},
		{"[::1]:8080", tcp("::1"), true},
		{"[::ffff:127.0.0.1]", tcp("127.0.0.1"), true},
		{"rebind.test", tcp("127.0.0.1"), false},
		{"rebind.test:8080", tcp("::1"), false},
		{"rebind.test", tcp("127.9.9.9"), false},
		{"rebind.test", tcp("::ffff:127.0.0.1"), false},
		{"localhost.rebind.test", tcp("127.0.0.1"), false},
		{"notlocalhost", tcp("127.0.0.1"), false},
		{"127.0.0.1.rebind.test", tcp("127.0.0.1"), false},
		{"128.0.0.1", tcp("127.0.0.1"), false},
		{"0.0.0.0:8080", tcp("127.0.0.1"), false},
		{"[::]:8080", tcp("::1"), false},
		{"192.168.1.2", tcp("127.0.0.1"), false},
		{"", tcp("127.0.0.1"), false},
		{"rebind.test", tcp("192.168.1.2"), true}, // not on this machine only: see Hosts
		{"rebind.test", &net.UnixAddr{Name: "/run/app.sock", Net: "unix"}, true},
		{"rebind.test", nil, true},
	} {
		for _, who := range []struct {
			name   string
			policy realtime.Policy
			want   bool
		}{{"AllowAll", realtime.AllowAll(), c.want}, {"another policy", open(), true}} {
			rt := prepare(t, who.policy, nil).Realtime
			w := httptest.NewRecorder()
			rt.Handler().ServeHTTP(w, arriving("GET", "/realtime.js", c.host, c.local))
			if got := w.Code == http.StatusOK; got != who.want {
				t.Errorf("%s: %q at %v: %d", who.name, c.host, c.local, w.Code)
			}
		}
	}
}

func TestBadHosts(t *testing.T) {
	for _, entry := range []string{"", "*.example.com", "https://app.example.com", "127.1"} {
		p := open()
		p.Hosts = []string{"app.example.com", entry}
		rt, err := realtime.New(p, nil)
		if err == nil {
			rt.Close(t.Context())
			t.Errorf("%q is taken for a host", entry)
		} else if !strings.Contains(err.Error(), "Policy.Hosts") {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

// Refusals for the host or the origin of a request are in the log, at debug level.
func TestRefusalsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Hosts = []string{"host.test"}
		inner := p.Authenticate
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			id, err := inner(r)
			if id.User == "odd" {
				id.User = "a\nb" + long
			}
			return id, err
		}
		var logged bytes.Buffer
		log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		h := start(t, p, &realtime.Options{Logger: log})
		check := func(what, want string) {
			t.Helper()
			synctest.Wait()
			got := logged.String()
			logged.Reset()
			if strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=DEBUG") || !strings.Contains(got, want) {
				t.Errorf("%s: logged %s", what, got)
			}
			brief(t, what, strings.TrimSpace(got))
		}
		for _, c := range []struct {
			ask    request
			code   string
			logged string
		}{
			{get("/ren", "Origin", evil), "origin", evil},
			{get("/ren", "Sec-Fetch-Site", "cross-site"), "origin", "cross-site"},
			{get("/realtime", append([]string{"Origin", evil + "/" + long}, upgrade...)...), "origin", evil},
			{get("/ren", "Authorization", "Bearer odd"), "internal", `a\\nb0123`},
			{get("/realtime", append([]string{"Authorization", "Bearer odd"}, upgrade...)...), "internal", `a\\nb0123`},
		} {
			if _, f := h.refused(c.ask); f.Code != c.code {
				t.Errorf("%+v: %+v", c.ask, f)
			}
			check(c.code, c.logged)
		}
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, arriving("GET", "/ren", "rebind.test", nil))
		check("host", "rebind.test")
	})
}
