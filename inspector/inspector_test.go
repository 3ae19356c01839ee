package inspector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/inspector"
)

var paths = []string{
	"/", "/index.html", "/app.js", "/style.css", "/icon.svg", "/overview", "/connections", "/connection?id=1", "/channels", "/channel?name=room",
	"/events", "/refusals", "/groups", "/nothing", "",
}

// Nobody gets anything who was not let in; without a function that is everybody.
func TestAuthorize(t *testing.T) {
	for name, c := range map[string]struct {
		authorize func(*http.Request) error
		status    int
	}{
		"nil":      {nil, http.StatusForbidden},
		"an error": {operator, http.StatusForbidden},
		"later":    {func(*http.Request) error { return fmt.Errorf("%w: no database", realtime.ErrTemporary) }, http.StatusServiceUnavailable},
		"a refusal": {func(*http.Request) error {
			return &realtime.RefusedError{Status: 401, Code: "unauthorized", Message: "who?"}
		}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, c.authorize)
				for _, path := range append(paths, "/diagnose", "/retry") {
					for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
						resp := s.request(method, path, "wrong")
						body, _ := io.ReadAll(resp.Body)
						if resp.StatusCode != c.status || strings.Contains(string(body), "password") || strings.Contains(string(body), "database") {
							t.Errorf("%s %s: %s: %s", method, path, resp.Status, body)
						}
					}
				}
			})
		})
	}
}

// A page whose name was made to resolve to the server's address sees nothing, even if
// authorize lets everybody in.
func TestOtherHosts(t *testing.T) {
	rt, err := realtime.New(realtime.Policy{Hosts: []string{"app.example.com"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(t.Context())
	asked := false
	h := inspector.Handler(rt, func(*http.Request) error { asked = true; return nil })
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "http://rebind.test/inspector/", nil),
		httptest.NewRequest("GET", "http://rebind.test/inspector/overview", nil),
		httptest.NewRequest("GET", "http://rebind.test/inspector/events", nil),
		httptest.NewRequest("POST", "http://rebind.test/inspector/retry", nil),
	} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusMisdirectedRequest || asked {
			t.Errorf("%s %s: %d", r.Method, r.URL, w.Code)
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "http://app.example.com/inspector/overview", nil)); w.Code != http.StatusOK {
		t.Errorf("the app's own host: %d", w.Code)
	}
}

// The page is whole, is kept to its own files, and works below any prefix.
func TestPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		for path, typ := range map[string]string{"/": "text/html", "/app.js": "text/javascript", "/dom.js": "text/javascript", "/style.css": "text/css", "/icon.svg": "image/svg+xml"} {
			resp := s.request(http.MethodGet, path, "let me in")
			body, _ := io.ReadAll(resp.Body)
			h := resp.Header
			if resp.StatusCode != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), typ) || len(body) == 0 {
				t.Errorf("%s: %s %s", path, resp.Status, h.Get("Content-Type"))
			}
			csp := h.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") ||
				h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %v", path, h)
			}
			for _, outside := range []string{"innerHTML", "http://", "https://", "eval("} {
				if strings.Contains(strings.ReplaceAll(string(body), "http://www.w3.org/2000/svg", ""), outside) {
					t.Errorf("%s has %s", path, outside)
				}
			}
		}
		resp := s.request(http.MethodGet, "", "let me in")
		if at := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || at != "./inspector/" {
			t.Errorf("without a slash: %s to %q", resp.Status, at)
		}
		for path, want := range map[string]string{"/%5C%5C2130706433": "./%5C%5C2130706433/", "/http:2130706433": "./http:2130706433/"} {
			if at := s.request(http.MethodGet, path, "let me in").Header.Get("Location"); at != want {
				t.Errorf("%s: redirected to %q, want %q", path, at, want)
			}
		}
		for _, path := range []string{"/secret.js", "/app.js/x.js", "/page/app.js.map"} {
			if resp := s.request(http.MethodGet, path, "let me in"); resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
		for _, path := range paths[:13] {
			if resp := s.request(http.MethodPost, path, "let me in"); resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("POST %s: %s", path, resp.Status)
			}
		}
		if resp := s.request(http.MethodHead, "/events", "let me in"); resp.StatusCode != http.StatusOK {
			t.Errorf("HEAD of the tail: %s", resp.Status)
		}
		for _, path := range []string{"/diagnose", "/retry"} {
			for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
				if resp := s.request(http.MethodPost, path, "let me in", header...); resp.StatusCode != http.StatusForbidden {
					t.Errorf("%s for another site, with %q: %s", path, header, resp.Status)
				}
			}
			if resp := s.request(http.MethodGet, path, "let me in"); resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("GET %s: %s", path, resp.Status)
			}
		}
	})
}

func TestViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		for _, user := range []string{"grace", "ada", "emmy"} {
			s.follow(user, "room:1")
			time.Sleep(time.Second)
		}
		s.follow("ada", "room:2")
		if err := s.Realtime.Presence().Join(t.Context(), "room:1", "ada", map[string]string{"name": "Ada"}); err != nil {
			t.Fatal(err)
		}
		var v table
		s.view("connections?sort=user", &v)
		if got := v.column("user"); !slices.Equal(got, []string{"ada", "ada", "emmy", "grace"}) || v.Total != 4 || v.Node != s.Realtime.Node() {
			t.Errorf("%v of %d", got, v.Total)
		}
		s.view("connections?sort=age&q=ADA", &v)
		if got := v.column("id"); !slices.Equal(got, []string{"4", "2"}) {
			t.Errorf("by age: %v", got)
		}
		s.view("connections?channel=room:2", &v)
		if got := v.column("user"); !slices.Equal(got, []string{"ada"}) {
			t.Errorf("of room 2: %v", got)
		}
		id := v.Rows[0]["id"]
		s.view(fmt.Sprintf("connection?id=%.0f", id), &v)
		if !slices.Equal(v.Sees, []string{"room:2"}) {
			t.Errorf("it sees %v", v.Sees)
		}
		if resp := s.request(http.MethodGet, "/connection?id=99", "let me in"); resp.StatusCode != http.StatusNotFound {
			t.Errorf("none: %s", resp.Status)
		}
		s.view("connections?kind=ren", &v)
		if v.Matched != 0 || v.Pages != 1 || v.Rows == nil {
			t.Errorf("streams: %+v", v)
		}
		s.view("channels?sort=followers&desc=1", &v)
		if got := v.column("name"); !slices.Equal(got, []string{"room:1", "room:2"}) || v.column("followers")[0] != "3" {
			t.Errorf("channels: %v", v.Rows)
		}
		s.view("channel?name=room:1", &v)
		if len(v.Members) != 1 || v.Members[0]["user"] != "ada" {
			t.Errorf("members: %v", v.Members)
		}
		for n := range 2 { // the first shows what there is, too
			var v sums
			s.view("overview", &v)
			if v.Health != "" || len(v.Nodes) != 1 || len(v.Samples) != n+1 || v.Samples[n]["webSocket"] != 4.0 || v.Users != 3 || v.Channels != 2 {
				t.Errorf("overview: %+v", v)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// Why something was refused is to be seen, and what handlers have given up.
func TestReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		err := s.Realtime.Group("work", nil, func(g *realtime.Group) error {
			return g.OnKVChange(realtime.KVMatch{}, func(_ context.Context, ev realtime.RenEvent) error {
				return fmt.Errorf("%w: the invoice %s has no customer", realtime.ErrPermanent, ev.Key)
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Realtime.Emit(t.Context(), realtime.KVPut("invoices", "17")); err != nil {
			t.Fatal(err)
		}
		s.follow("grace", "secret:plans")
		s.follow("mallory", "room")
		var v table
		body := s.view("refusals", &v)
		if got := v.column("reason"); len(got) < 2 || !slices.Contains(got, "grace is not a member of secret:plans") || !slices.Contains(got, "the token of mallory is forged") {
			t.Errorf("reasons: %q", got)
		}
		if strings.Contains(body, "client-of-") || strings.Contains(body, "Bearer") {
			t.Errorf("a secret is shown: %s", body)
		}
		s.view("refusals?q=secret", &v)
		if got := v.column("code"); !slices.Equal(got, []string{"forbidden"}) {
			t.Errorf("filtered: %q", got)
		}
		s.view("groups", &v)
		if len(v.Groups) != 1 || v.Groups[0]["name"] != "work" || v.Groups[0]["held"] != true || len(v.Dead) != 1 ||
			!strings.Contains(fmt.Sprint(v.Dead[0]["error"]), "the invoice 17 has no customer") {
			t.Errorf("groups: %v, dead: %v", v.Groups, v.Dead)
		}
		var o sums
		s.view("overview", &o)
		if v := o; len(v.Concerns) != 1 || v.Concerns[0]["view"] != "groups" {
			t.Errorf("concerns: %v", v.Concerns)
		}
	})
}

// A list of any length comes in pages.
func TestPaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		for i := range 120 {
			if err := s.Realtime.Publish(t.Context(), fmt.Sprintf("room:%03d", i), i); err != nil {
				t.Fatal(err)
			}
		}
		var all []string
		for page := range 4 {
			var v table
			s.view(fmt.Sprintf("channels?page=%d", page), &v)
			if v.Total != 120 || v.Pages != 3 || v.Page != min(page, 2) {
				t.Fatalf("page %d: %+v", page, v)
			}
			if page < 3 {
				all = append(all, v.column("name")...)
			}
		}
		if len(all) != 120 || !slices.IsSorted(all) {
			t.Errorf("%d channels: %v", len(all), all)
		}
		for _, page := range []string{"-1", "x", "99999999999999999999"} {
			var v table
			if s.view("channels?page="+page, &v); len(v.Rows) == 0 {
				t.Errorf("page %s is empty", page)
			}
		}
	})
}

// A channel that comes after the list was made is added to it, and no other one twice.
func TestNewChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		follow := func(prefix string) {
			for i := range 6 {
				s.follow("ada", fmt.Sprint(prefix, i))
			}
		}
		var v table
		follow("z")
		s.view("channels", &v)
		follow("a")
		s.view("channels", &v)
		if got := v.column("name"); v.Total != 12 || len(slices.Compact(got)) != 12 {
			t.Errorf("%d channels: %q", v.Total, got)
		}
	})
}

// A channel cannot be called everything.
func TestBadChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		for _, path := range []string{"/channel", "/channel?name=$x"} {
			if resp := s.request(http.MethodGet, path, "let me in"); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
	})
}

// The examination of proxies is made once at a time, and its errors are the operator's.
func TestDiagnose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		if status, said := s.post("/diagnose", "ftp://host.test/"); status != http.StatusBadRequest || !strings.Contains(said, "baseURL") {
			t.Errorf("%d %s", status, said)
		}
	})
}

// A dead letter that is listed can be retried, and the answer says what has become of it.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		fails := errors.New("the printer is on fire")
		opts := &realtime.GroupOptions{Attempts: 1, DeadLetter: func(context.Context, realtime.DeadLetter) {}}
		err := s.Realtime.Group("print", opts, func(g *realtime.Group) error {
			return g.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return fails })
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Realtime.Emit(t.Context(), realtime.KVPut("n", "k")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var v struct {
			Dead []struct {
				ID       json.RawMessage
				Attempts int
			}
		}
		s.view("groups", &v)
		if len(v.Dead) != 1 {
			t.Fatalf("%+v", v)
		}
		id := string(v.Dead[0].ID)
		if status, said := s.post("/retry", id); status != http.StatusOK || !strings.Contains(said, `"failed"`) || !strings.Contains(said, "on fire") {
			t.Errorf("it fails again: %d %s", status, said)
		}
		if s.view("groups", &v); v.Dead[0].Attempts != 2 {
			t.Errorf("after a failure: %+v", v)
		}
		fails = nil
		if status, said := s.post("/retry", id); status != http.StatusOK || said != `{"outcome":"handled"}` {
			t.Errorf("%d %s", status, said)
		}
		if s.view("groups", &v); len(v.Dead) != 0 {
			t.Errorf("still listed: %+v", v)
		}
		for body, want := range map[string]int{
			id: http.StatusNotFound, "{}": http.StatusNotFound, "": http.StatusBadRequest, "[]": http.StatusBadRequest,
			`{"group":"` + strings.Repeat("x", 4<<10) + `"}`: http.StatusBadRequest,
		} {
			if status, said := s.post("/retry", body); status != want {
				t.Errorf("%.50s: %d %s", body, status, said)
			}
		}
	})
}
