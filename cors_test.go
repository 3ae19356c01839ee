package realtime_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
)

const (
	app  = "https://app.example.com"
	evil = "https://evil.example.com"
)

// send sends a request to a handler; header is in pairs.
func send(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var corsRequests = []struct {
	name, method, origin string
	header               []string
	status               int
	allowed, served      bool
}{
	{"read", "GET", app, nil, 418, true, true},
	{"write", "POST", app, []string{"Sec-Fetch-Site", "cross-site"}, 418, true, true},
	{"no browser", "POST", "", nil, 418, false, true},
	{"same origin", "POST", "http://example.com", []string{"Sec-Fetch-Site", "same-origin"}, 418, false, true},
	{"foreign read", "GET", evil, []string{"Sec-Fetch-Site", "cross-site"}, 418, false, true}, // nobody can read it
	{"foreign write", "POST", evil, []string{"Sec-Fetch-Site", "cross-site"}, 403, false, false},
	{"prefix of a listed one", "GET", app + ".evil.example", nil, 418, false, true},
	{"null", "GET", "null", nil, 418, false, true},
	{"preflight", "OPTIONS", app, []string{"Access-Control-Request-Method", "PUT"}, 204, true, false},
	{"foreign preflight", "OPTIONS", evil, []string{"Access-Control-Request-Method", "PUT"}, 418, false, true},
	{"OPTIONS", "OPTIONS", app, nil, 418, true, true},
	{"no preflight", "GET", app, []string{"Access-Control-Request-Method", "PUT"}, 418, true, true},
}

// TestCORS: pages of listed origins can ask anything of the host's routes, and
// read the answer; to those of others nothing is said.
func TestCORS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{app}
		rt := prepare(t, p, nil).Realtime
		defer rt.Close(context.Background())
		protection := http.NewCrossOriginProtection()
		if err := protection.AddTrustedOrigin(app); err != nil {
			t.Fatal(err)
		}
		var served []string
		h := rt.CORS(protection.Handler(rt.Attribute(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served = append(served, r.Method)
			w.WriteHeader(http.StatusTeapot)
		}))))
		for _, c := range corsRequests {
			served = nil
			header := c.header
			if c.origin != "" {
				header = append(header, "Origin", c.origin)
			}
			w := send(h, c.method, "/todos", header...)
			got := w.Header()
			if w.Code != c.status || (len(served) == 1) != c.served || !slices.Contains(got.Values("Vary"), "Origin") {
				t.Errorf("%s: %d, served %q, %v", c.name, w.Code, served, got)
			}
			want := [3]string{}
			if c.allowed {
				want = [3]string{app, "true", "ETag, Retry-After, X-Ren-Cursor"}
			}
			said := [3]string{got.Get("Access-Control-Allow-Origin"), got.Get("Access-Control-Allow-Credentials"), got.Get("Access-Control-Expose-Headers")}
			if said != want {
				t.Errorf("%s: %q is said, want %q", c.name, said, want)
			}
			if !c.allowed && got.Get("Access-Control-Allow-Methods") != "" {
				t.Errorf("%s: methods are allowed", c.name)
			}
		}

		w := send(h, "OPTIONS", "/todos", "Origin", app, "Access-Control-Request-Method", "PATCH",
			"Access-Control-Request-Headers", "authorization,content-type,x-ren-client,x-my-own")
		got := w.Header()
		if got.Get("Access-Control-Allow-Methods") != "PATCH" || got.Get("Access-Control-Max-Age") != "7200" ||
			got.Get("Access-Control-Allow-Headers") != "authorization,content-type,x-ren-client,x-my-own" || w.Body.Len() > 0 {
			t.Errorf("preflight: %v", got)
		}
		if vary := strings.Join(got.Values("Vary"), ", "); vary != "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" {
			t.Errorf("preflight: varies with %s", vary)
		}
	})
}

// TestCORSAroundAll: around the library's own handlers, which need none, it changes
// nothing.
func TestCORSAroundAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{app}
		rt := prepare(t, p, nil).Realtime
		defer rt.Close(context.Background())
		for name, h := range map[string]http.Handler{"Handler": rt.Handler(), "RenHandler": rt.RenHandler()} {
			bare := send(h, "GET", "/ren?s=!", "Origin", app)
			around := send(rt.CORS(h), "GET", "/ren?s=!", "Origin", app)
			if diff := cmp.Diff(bare.Header(), around.Header()); bare.Code != 400 || bare.Header().Get("Access-Control-Allow-Origin") != app || diff != "" {
				t.Errorf("%s: %d %v %s", name, bare.Code, bare.Header(), diff)
			}
		}
	})
}

// TestScriptCrossOrigin: a module is fetched with CORS, from wherever the page is.
func TestScriptCrossOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{app}
		rt := prepare(t, p, nil).Realtime
		defer rt.Close(context.Background())
		for origin, want := range map[string]string{app: app, evil: ""} {
			w := send(rt.Handler(), "GET", "/api/maravilla/realtime.js", "Origin", origin)
			if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != 200 || got != want || w.Header().Get("Vary") != "Origin" {
				t.Errorf("%s: %d %v", origin, w.Code, w.Header())
			}
		}
	})
}

// others is a middleware of the host's that sets what CORS sets, in its own way.
func others(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Expose-Headers", "X-Total, etag")
		h.Set("Access-Control-Allow-Headers", "X-My-Own")
		h.Set("Access-Control-Allow-Methods", "GET, PUT")
		h.Set("Access-Control-Max-Age", "60")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Vary", "Accept-Encoding, origin")
		next.ServeHTTP(w, r)
	})
}

// list returns what a header lists, sorted, from all its lines.
func list(h http.Header, name string) string {
	names := strings.Split(strings.ToLower(strings.Join(h.Values(name), ",")), ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// corsAnswers are the ways in which a handler may answer.
var corsAnswers = map[string]http.HandlerFunc{
	"status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	"body":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("body")) },
	"copy": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader("body")})
	},
	"nothing":    func(http.ResponseWriter, *http.Request) {},
	"flush":      func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
	"controller": func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() },
	"error":      func(w http.ResponseWriter, _ *http.Request) { realtime.WriteError(w, realtime.ErrTemporary) },
	"early hints": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Access-Control-Expose-Headers", "ETag, X-Total")
		w.WriteHeader(http.StatusOK)
	},
}

// headersOf returns those of an answer; header is in pairs.
func headersOf(t *testing.T, server *httptest.Server, method, origin string, header ...string) http.Header {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/ren?s=!", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", origin)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header
}

// TestCORSBesideOthers: what a middleware of the host's says, outside or within,
// and what CORS says, both arrive, each once, however the handler answers.
func TestCORSBesideOthers(t *testing.T) {
	t.Parallel()
	p := open()
	p.Origins = []string{app}
	rt := prepare(t, p, nil).Realtime
	orders := map[string]func(http.Handler) http.Handler{
		"outside":    func(h http.Handler) http.Handler { return others(rt.CORS(h)) },
		"within":     func(h http.Handler) http.Handler { return rt.CORS(others(h)) },
		"both sides": func(h http.Handler) http.Handler { return others(rt.CORS(others(rt.CORS(h)))) },
	}
	answers := maps.Clone(corsAnswers)
	answers["library"] = rt.Handler().ServeHTTP
	for order, around := range orders {
		for answer, h := range answers {
			name := order + ", " + answer
			server := httptest.NewServer(around(h))
			ask := func(method, origin string, header ...string) http.Header {
				t.Helper()
				return headersOf(t, server, method, origin, header...)
			}
			got := ask("GET", app)
			if list(got, "Access-Control-Expose-Headers") != "etag retry-after x-ren-cursor x-total" || list(got, "Vary") != "accept-encoding origin" ||
				list(got, "Access-Control-Allow-Origin") != app || list(got, "Access-Control-Allow-Credentials") != "true" {
				t.Errorf("%s: %v", name, got)
			}
			// The host's headers for pages of other origins stay as they are.
			got = ask("GET", evil)
			if list(got, "Access-Control-Expose-Headers") != "etag x-total" || list(got, "Vary") != "accept-encoding origin" ||
				list(got, "Access-Control-Allow-Origin") != "*" || got.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s, another page: %v", name, got)
			}
			got = ask("OPTIONS", app, "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "content-type,x-my-own")
			headers, methods, age := "content-type x-my-own", "get patch put", "60"
			if order == "within" { // it is not asked
				methods, age = "patch", "7200"
			}
			if list(got, "Access-Control-Allow-Headers") != headers || list(got, "Access-Control-Allow-Methods") != methods ||
				list(got, "Access-Control-Max-Age") != age || list(got, "Access-Control-Allow-Origin") != app {
				t.Errorf("%s, preflight: %v", name, got)
			}
			server.Close()
		}
	}
}

// TestCORSMends: what others set in another case, or before they panic, is mended as well.
func TestCORSMends(t *testing.T) {
	p := open()
	p.Origins = []string{app}
	rt := prepare(t, p, nil).Realtime
	lower := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["access-control-expose-headers"] = []string{"X-Total"}
		w.Header()["access-control-allow-origin"] = []string{"*"}
	})
	panics := rt.CORS(others(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of order") })))
	recovers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		panics.ServeHTTP(w, r)
	})
	for name, h := range map[string]http.Handler{"lower case": rt.CORS(lower), "panic": recovers} {
		got := send(h, "GET", "/todos", "Origin", app).Result().Header
		for name := range got {
			if name != http.CanonicalHeaderKey(name) {
				t.Errorf("%s is left", name)
			}
		}
		if exposed := list(got, "Access-Control-Expose-Headers"); !strings.Contains(exposed, "x-ren-cursor x-total") || list(got, "Access-Control-Allow-Origin") != app {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestCORSKeepsAbilities: what CORS wraps can stream, be hijacked, and set deadlines.
func TestCORSKeepsAbilities(t *testing.T) {
	p := open()
	p.Origins = []string{app}
	rt := prepare(t, p, nil).Realtime
	server := httptest.NewServer(rt.CORS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.SetReadDeadline(time.Now().Add(time.Hour)), rc.SetWriteDeadline(time.Now().Add(time.Hour)), rc.EnableFullDuplex()); err != nil {
			t.Error(err)
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("no io.ReaderFrom")
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		conn.Close()
	})))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	w := httptest.NewRecorder()
	rt.CORS(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("a recorder is hijacked: %v", err)
		}
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
}

// The API of a server for pages that another one serves.
func ExampleRealtime_CORS() {
	rt, err := realtime.New(realtime.Policy{Origins: []string{"https://app.example.com"}}, nil)
	if err != nil {
		panic(err)
	}
	defer rt.Close(context.Background())

	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.HandleFunc("PUT /api/todos/{id}", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })

	protection := http.NewCrossOriginProtection() // of other sites' pages, except
	if err := protection.AddTrustedOrigin("https://app.example.com"); err != nil {
		panic(err)
	}
	server := httptest.NewServer(rt.CORS(protection.Handler(rt.Attribute(mux))))
	defer server.Close()
	// Output:
}
