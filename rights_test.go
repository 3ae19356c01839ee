package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/kv"
	"github.com/maravilla-realtime/realtime/storage"
)

// guarded serves a route of the host's own beside those of the library.
func guarded(t *testing.T, policy realtime.Policy) *host {
	h := prepare(t, policy, nil)
	h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verb := map[string]realtime.Verb{"POST": realtime.VerbUpload, "DELETE": realtime.VerbDelete}[r.Method]
		if verb == "" {
			verb = realtime.VerbDownload
		}
		id, err := h.Authorize(r, realtime.Action{Verb: verb, Name: r.URL.Query().Get("path")})
		if err != nil {
			realtime.WriteError(w, err)
			return
		}
		fmt.Fprint(w, "hello ", id.User)
	})
	h.serve()
	return h
}

var authorizations = []struct {
	method, path string
	header       []string
	status       int
	code, asked  string
}{
	{"POST", "a/b", nil, 200, "", "ada upload a/b"},
	{"DELETE", "a/b", nil, 200, "", "ada delete a/b"},
	{"GET", "a/b", nil, 200, "", "ada download a/b"},
	{"POST", "closed", nil, 403, "forbidden", "ada upload closed"},
	{"POST", "busy", nil, 503, "unavailable", "ada upload busy"},
	{"POST", "slow", nil, 503, "unavailable", "ada upload slow"},
	{"POST", "a", []string{"Authorization", "Bearer expired"}, 401, "expired", ""},
	{"POST", "a", []string{"Authorization", "Bearer bad"}, 401, "unauthorized", ""},
	{"POST", "a", []string{"Authorization", "Bearer later"}, 503, "unavailable", ""},
	{"POST", "a", []string{"Sec-Fetch-Site", "cross-site"}, 403, "origin", ""},
	{"DELETE", "a", []string{"Sec-Fetch-Site", "same-site"}, 403, "origin", ""},
	{"PUT", "a", []string{"Origin", "https://evil.test"}, 403, "origin", ""},
	{"POST", "a", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://app.example.com"}, 200, "", "ada upload a"},
	{"GET", "a", []string{"Sec-Fetch-Site", "cross-site"}, 200, "", "ada download a"}, // a link from elsewhere
}

func TestAuthorize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		p := open()
		p.Origins = []string{"https://app.example.com"}
		p.Allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			asked = append(asked, id.User+" "+string(a.Verb)+" "+a.Name)
			switch a.Name {
			case "closed":
				return errors.New("a secret")
			case "busy":
				return realtime.ErrTemporary
			case "slow":
				<-ctx.Done()
				return errors.New("a secret")
			}
			return nil
		}
		h := guarded(t, p)
		for _, c := range authorizations {
			asked = nil
			began := time.Now()
			ask := get("/?path="+c.path, append([]string{"Authorization", "Bearer ada"}, c.header...)...)
			for i := 0; i < len(c.header); i += 2 {
				ask.header.Set(c.header[i], c.header[i+1])
			}
			ask.method = c.method
			status, code := http.StatusOK, ""
			if c.status == http.StatusOK {
				resp := h.do(context.Background(), ask)
				status = resp.StatusCode
				resp.Body.Close()
			} else {
				var f testkit.Refusal
				status, f = h.refused(ask)
				code = f.Code
				brief(t, c.path, f.Message)
				if *f.Retry != (status == http.StatusServiceUnavailable) {
					t.Errorf("%s %s: retry is %v", c.method, c.path, *f.Retry)
				}
				if strings.Contains(f.Message, "secret") {
					t.Errorf("%s %s tells %q", c.method, c.path, f.Message)
				}
			}
			if took := time.Since(began); (took == 5*time.Second) != (c.path == "slow") {
				t.Errorf("%s %s: answered after %v", c.method, c.path, took)
			}
			if got := strings.Join(asked, ", "); status != c.status || code != c.code || got != c.asked {
				t.Errorf("%s %s %q: %d %s, asked %q; want %d %s, %q", c.method, c.path, c.header, status, code, got, c.status, c.code, c.asked)
			}
		}
	})
}

// No host's route is open because its policy has nothing to say, and no identity
// outlives its end.
func TestAuthorizeDeniesByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noAllow := open()
		noAllow.Allow = nil
		for _, c := range []struct {
			policy realtime.Policy
			code   string
		}{{realtime.Policy{}, "unauthorized"}, {noAllow, "forbidden"}, {expiring(0), "expired"}} {
			h := prepare(t, c.policy, nil)
			defer h.Close(context.Background())
			id, err := h.Authorize(httptest.NewRequest("GET", "/", nil), realtime.Action{Verb: realtime.VerbDownload, Name: "a"})
			var refused *realtime.RefusedError
			if !errors.As(err, &refused) || refused.Code != c.code || id.User != "" {
				t.Errorf("got %+v, %v, want %s", id, err, c.code)
			}
		}
		h := prepare(t, realtime.AllowAll(), nil)
		defer h.Close(context.Background())
		if _, err := h.Authorize(httptest.NewRequest("POST", "/", nil), realtime.Action{Verb: realtime.VerbUpload, Name: "a"}); err != nil {
			t.Errorf("AllowAll: %v", err)
		}
	})
}

func TestWriteError(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  bool
	}{
		{errors.New("a secret"), 500, "internal", false},
		{fmt.Errorf("a secret: %w", &realtime.RefusedError{Status: 404, Code: "not_found", Message: "gone"}), 404, "not_found", false},
		{&realtime.RefusedError{Code: "forgotten", Message: "no status"}, 500, "forgotten", false},
		{&realtime.RefusedError{Status: 408, Code: "timeout", Message: "late", Retry: true}, 408, "timeout", true},
		{fmt.Errorf("a secret: %w", realtime.ErrTemporary), 503, "unavailable", true},
		{fmt.Errorf("a secret: %w", realtime.ErrMaybeStored), 503, "unavailable", true},
		{realtime.ErrClosed, 503, "closing", true},
		{fmt.Errorf("a secret: %w", realtime.ErrTooLarge), 413, "too_large", false},
		{fmt.Errorf("%w: a secret", realtime.ErrBadChannel), 400, "bad_channel", false},
		{fmt.Errorf("%w: a secret", realtime.ErrBadEvent), 400, "bad_request", false},
		{fmt.Errorf("%w: a secret", realtime.ErrBadUser), 400, "bad_request", false},
		{fmt.Errorf("%w: a secret", realtime.ErrBadClientID), 400, "bad_request", false},
		{fmt.Errorf("%w: a secret", realtime.ErrBadOption), 500, "internal", false},
		{fmt.Errorf("%w: a secret", kv.ErrNotFound), 404, "not_found", false},
		{fmt.Errorf("%w: a secret", kv.ErrBadKey), 400, "bad_request", false},
		{fmt.Errorf("%w: a secret", kv.ErrTooLarge), 413, "too_large", false},
		{fmt.Errorf("%w: %w", kv.ErrUnannounced, realtime.ErrClosed), 503, "closing", true},
		{fmt.Errorf("%w: a secret", storage.ErrNotFound), 404, "not_found", false},
		{fmt.Errorf("%w: a secret", storage.ErrBadPath), 400, "bad_name", false},
		{errors.Join(realtime.ErrTooLarge, realtime.ErrTemporary), 503, "unavailable", true},
	} {
		w := httptest.NewRecorder()
		realtime.WriteError(w, c.err)
		f := testkit.ParseRefusal(t, w.Body.Bytes())
		if w.Code != c.status || f.Code != c.code || *f.Retry != c.retry || strings.Contains(f.Message, "secret") ||
			(w.Header().Get("Retry-After") != "") != c.retry || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%v: %d %s", c.err, w.Code, w.Body)
		}
	}
}

// A handler that is not within Attribute, although tabs say who they are, is logged once.
func TestAuthorizeWithoutAttribute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		authorize := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = h.Authorize(r, realtime.Action{Verb: realtime.VerbUpload, Name: "a"}) // it is allowed
		})
		named, _ := http.NewRequest(http.MethodGet, "http://host.test/", nil)
		nameless := named.Clone(t.Context())
		named.Header.Set("X-Ren-Client", tab1)
		const line = "not within Attribute"
		h.Attribute(authorize).ServeHTTP(httptest.NewRecorder(), named)
		authorize.ServeHTTP(httptest.NewRecorder(), nameless)
		if strings.Contains(h.logs.String(), line) {
			t.Error(h.logs)
		}
		for range 3 {
			authorize.ServeHTTP(httptest.NewRecorder(), named)
		}
		if n := strings.Count(h.logs.String(), line); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
