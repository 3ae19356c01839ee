package realtime_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

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
		for _, c := range []struct {
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
		} {
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

	protection := http.NewCrossOriginProtection() // of other sites' pages, but for
	if err := protection.AddTrustedOrigin("https://app.example.com"); err != nil {
		panic(err)
	}
	server := httptest.NewServer(rt.CORS(protection.Handler(rt.Attribute(mux))))
	defer server.Close()
	// Output:
}
