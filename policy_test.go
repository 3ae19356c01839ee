package realtime_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
)

// admitted asks for a stream or an upgrade, and reports whether it is let in.
func (h *host) admitted(r request) bool {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if strings.HasPrefix(r.path, "/realtime") {
		r.header = r.header.Clone()
		for i := 0; i < len(upgrade); i += 2 {
			r.header.Set(upgrade[i], upgrade[i+1])
		}
	}
	resp := h.do(ctx, r)
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusSwitchingProtocols
}

// try sends an operation over a connection that is perhaps gone.
func (s *socket) try(op string) {
	_ = s.ws.Write(context.Background(), websocket.MessageText, []byte("{"+op+"}"))
}

// Promise 13: authorisation is the same on every path. Each path reports whether
// a client got at something; change is what happens to its rights before that.
func TestAuthorisation(t *testing.T) {
	const secret = "the-secret"
	stream := get("/ren", "Authorization", "Bearer ada")
	channel := get("/realtime", "Authorization", "Bearer ada")

	leaked := func(s *ren) bool {
		for _, ev := range s.rest() {
			if strings.Contains(ev.Raw, secret) {
				return true
			}
		}
		return false
	}
	got := func(s *socket) bool {
		for _, o := range s.rest() {
			if strings.Contains(o.raw, secret) {
				return true
			}
		}
		return false
	}
	reads := map[string]func(h *host, change func()) bool{
		"REN, live": func(h *host, change func()) bool {
			if !h.admitted(stream) {
				return false
			}
			s := h.ren(stream)
			change()
			h.publish("room", secret)
			return leaked(s)
		},
		"REN, replayed": func(h *host, change func()) bool {
			cursor := string(h.Cursor())
			h.publish("room", secret)
			change()
			ask := get("/ren?lastEventId="+cursor, "Authorization", "Bearer ada")
			return h.admitted(ask) && leaked(h.ren(ask))
		},
		"REN, presence": func(h *host, change func()) bool {
			if !h.admitted(stream) {
				return false
			}
			s := h.ren(stream)
			change()
			h.join("room", secret, nil)
			return leaked(s)
		},
		"WebSocket, live": func(h *host, change func()) bool {
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			s.call(subscribe("room"))
			change()
			h.publish("room", secret)
			return got(s)
		},
		"WebSocket, replayed": func(h *host, change func()) bool {
			cursor := string(h.Cursor())
			h.publish("room", secret)
			change()
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			s.try(since("room", cursor))
			return got(s)
		},
		"WebSocket, replayed on an old connection": func(h *host, change func()) bool {
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			cursor := string(h.Cursor())
			h.publish("room", secret)
			change()
			s.try(since("room", cursor))
			return got(s)
		},
		"WebSocket, presence": func(h *host, change func()) bool {
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			s.call(subscribe("room") + `,"presence":true`)
			change()
			h.join("room", secret, nil)
			return got(s)
		},
		"WebSocket, presence replayed": func(h *host, change func()) bool {
			cursor := string(h.Cursor())
			h.join("room", secret, nil)
			change()
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			s.try(since("room", cursor) + `,"presence":true`)
			return got(s)
		},
		"WebSocket, presence.state": func(h *host, change func()) bool {
			h.join("room", secret, nil)
			change()
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			s.try(subscribe("room") + `,"presence":true`)
			return got(s)
		},
	}
	writes := map[string]func(h *host, change func()) bool{
		"publish": func(h *host, change func()) bool {
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			change()
			before := h.Cursor()
			s.try(publish("room", "1"))
			synctest.Wait()
			return h.Cursor() != before
		},
		"join": func(h *host, change func()) bool {
			if !h.admitted(channel) {
				return false
			}
			s := h.socket(channel)
			change()
			s.try(`"op":"join","channel":"room"`)
			synctest.Wait()
			members, err := h.Presence().Members(context.Background(), "room")
			return err == nil && len(members) > 0
		},
	}

	forbid := errors.New("forbidden")
	for _, c := range []struct {
		name      string
		policy    func() realtime.Policy
		change    func(h *host)
		want      bool
		readsOnly bool
	}{
		{name: "allow", policy: open, want: true},
		{name: "deny", policy: func() realtime.Policy {
			p := open()
			p.Allow = func(context.Context, realtime.Identity, realtime.Action) error { return forbid }
			p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return nil, forbid }
			return p
		}},
		{name: "allow others only", policy: func() realtime.Policy {
			p := withGrants(realtime.GrantAll("realtime").Under("lobby"), realtime.GrantAll("presence").Under("lobby"))
			p.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
				if a.Name != "lobby" {
					return forbid
				}
				return nil
			}
			return p
		}},
		{name: "hidden by See", readsOnly: true, policy: func() realtime.Policy {
			p := open()
			p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool { return ev.Channel != "room" }
			return p
		}},
		{name: "revoked", policy: func() realtime.Policy {
			var revoked atomic.Bool
			p := open()
			inner := p.Authenticate
			p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
				if r.URL.Query().Has("revoke") {
					revoked.Store(true)
				}
				if revoked.Load() {
					return realtime.Identity{}, forbid
				}
				return inner(r)
			}
			return p
		}, change: func(h *host) {
			h.admitted(get("/ren?revoke"))
			if err := h.Revoke(context.Background(), "ada"); err != nil {
				h.t.Error(err)
			}
		}},
		{name: "rechecked", policy: func() realtime.Policy {
			var may rights
			p := may.policy()
			inner := p.Authenticate
			p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
				if r.URL.Query().Has("take") {
					may.take("room", forbid)
					may.take("lobby", forbid)
				}
				return inner(r)
			}
			p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
				return []realtime.Grant{realtime.GrantAll("realtime").WithData(), realtime.GrantAll("presence")}, may.to("room")
			}
			return p
		}, change: func(h *host) {
			h.admitted(get("/ren?take"))
			h.recheck("ada")
		}},
		{name: "expired", policy: func() realtime.Policy {
			p := open()
			end := time.Now().Add(time.Minute)
			p.Authenticate = func(*http.Request) (realtime.Identity, error) {
				return realtime.Identity{User: "ada", Expires: end}, nil
			}
			return p
		}, change: func(*host) { time.Sleep(time.Minute + 1) }},
		{name: "anonymous", policy: func() realtime.Policy {
			p := open()
			p.Authenticate = func(*http.Request) (realtime.Identity, error) { return realtime.Identity{}, forbid }
			return p
		}},
		{name: "zero policy", policy: func() realtime.Policy { return realtime.Policy{} }},
	} {
		run := func(path string, try func(*host, func()) bool) {
			bubble(t, c.name+"/"+path, func(t *testing.T) {
				h := start(t, c.policy(), nil)
				change := func() {
					if c.change != nil {
						c.change(h)
					}
				}
				if got := try(h, change); got != c.want {
					t.Errorf("got at it: %v, want %v", got, c.want)
				}
			})
		}
		for path, try := range reads {
			run(path, try)
		}
		if c.readsOnly {
			continue
		}
		for path, try := range writes {
			run(path, try)
		}
	}
}

// What a policy is asked, and that its reasons stay with it.
func TestPolicyIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		p := open()
		p.Allow = func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			asked = append(asked, id.User+" "+string(a.Verb)+" "+a.Name)
			switch a.Name {
			case "closed":
				return errors.New("a secret")
			case "busy":
				return realtime.ErrTemporary
			}
			return nil
		}
		h := start(t, p, nil)
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		for _, c := range []struct{ op, asked, code string }{
			{subscribe("room"), "ada subscribe room", ""},
			{subscribe("closed"), "ada subscribe closed", "forbidden"},
			{subscribe("busy"), "ada subscribe busy", "unavailable"},
			{publish("closed", "1"), "ada publish closed", "forbidden"},
			{publish("busy", "1"), "ada publish busy", "unavailable"},
			{`"op":"join","channel":"closed"`, "ada join closed", "forbidden"},
			{`"op":"join","channel":"busy"`, "ada join busy", "unavailable"},
			{`"op":"join","channel":"room"`, "ada join room", ""},
			{`"op":"update","channel":"room","metadata":1`, "ada join room", ""},
			{`"op":"leave","channel":"room"`, "", ""},
			{`"op":"unsubscribe","channel":"room"`, "", ""},
			{publish("closed:"+long[:200], "1"), "ada publish closed:" + long[:200], ""},
		} {
			asked = nil
			o := s.call(c.op)
			if got := strings.Join(asked, ", "); got != c.asked || o.Code != c.code || o.Code != "" && *o.Retry != (c.code == "unavailable") {
				t.Errorf("%s: asked %q, answered %s", c.op, got, o.raw)
			}
			brief(t, c.op, o.Message)
		}
	})
}

func TestAllowAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		if log := h.logs.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "AllowAll") {
			t.Errorf("no warning: %s", log)
		}
		s := h.socket(get("/realtime"))
		s.ok(`"op":"join","channel":"room","userId":"ada"`, `"op":"join","channel":"room","userId":"bob"`)
		if o := s.call(`"op":"join","channel":"room"`); o.Code != "bad_request" {
			t.Errorf("join without a user: %s", o.raw)
		}
		if quiet := start(t, open(), nil); quiet.logs.String() != "" {
			t.Errorf("another policy warns: %s", quiet.logs)
		}
		if status, f := h.refused(get("/ren", "Origin", "https://evil.test")); status != 403 || f.Code != "origin" {
			t.Errorf("AllowAll lets foreign pages in: %d %+v", status, f)
		}
	})
}

func TestOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Origins = []string{"https://app.example.com", "http://localhost:5173"}
		h := start(t, p, nil) // its host is host.test
		for _, c := range []struct {
			site, origin string
			allowed      bool
		}{
			{"", "", true},
			{"", "http://host.test", true},
			{"", "https://host.test", true},
			{"", "http://HOST.test", true},
			{"", "http://host.test:8080", false},
			{"", "http://sub.host.test", false},
			{"", "http://host.test.evil.com", false},
			{"", "http://evil.com", false},
			{"", "http://evil.com/host.test", false},
			{"", "http://host.test@evil.com", false},
			{"", "null", false},
			{"", "file://", false},
			{"", "http://%zz", false},
			{"", "https://app.example.com", true},
			{"", "http://localhost:5173", true},
			{"", "http://localhost:5174", false},
			{"", "http://localhost", false},
			{"", "http://app.example.com", false},
			{"", "https://APP.example.com", false},
			{"", "https://app.example.com/", false},
			{"", "https://app.example.com:443", false},
			{"", "https://x.app.example.com", false},
			{"", "https://app.example.com https://evil.com", false},
			{"same-origin", "", true},
			{"same-origin", "http://renamed.by.proxy", true},
			{"none", "", true},
			{"same-site", "", false},
			{"same-site", "http://sub.host.test", false},
			{"same-site", "https://app.example.com", true},
			{"cross-site", "", false},
			{"cross-site", "http://host.test", false},
			{"cross-site", "null", false},
			{"cross-site", "https://app.example.com", true},
			{"something-new", "http://host.test", false},
		} {
			for _, path := range []string{"/ren", "/realtime", "/realtime?auth=hello"} {
				ask := get(path)
				if c.site != "" {
					ask.header.Set("Sec-Fetch-Site", c.site)
				}
				if c.origin != "" {
					ask.header.Set("Origin", c.origin)
				}
				if got := h.admitted(ask); got != c.allowed {
					t.Errorf("%s for site %q, origin %q: let in is %v", path, c.site, c.origin, got)
				}
			}
		}
	})
}

// An origin without a host, which sandboxed pages and files have, is not that of a
// server that was not told its own, as by HTTP/1.0.
func TestOriginWithoutHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := prepare(t, open(), nil).Realtime
		defer rt.Close(context.Background())
		for _, origin := range []string{"null", "file://"} {
			r := httptest.NewRequest("GET", "/ren", nil)
			r.Host = ""
			r.Header.Set("Origin", origin)
			w := httptest.NewRecorder()
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			rt.RenHandler().ServeHTTP(w, r.WithContext(ctx))
			cancel()
			if w.Code != http.StatusForbidden {
				t.Errorf("%s: %d", origin, w.Code)
			}
		}
	})
}

// An origin and a host are the same with the default port of the origin's scheme
// written or not, in whatever case, and whatever scheme the proxy has taken off.
func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"https://example.com", "example.com:443", true},
		{"https://example.com:443", "example.com", true},
		{"https://example.com:443", "example.com:443", true},
		{"http://example.com", "example.com:80", true},
		{"http://example.com:80", "example.com", true},
		{"HTTPS://Example.COM", "example.com:443", true},
		{"https://example.com", "EXAMPLE.com:443", true},
		{"https://example.com", "example.com.", true},
		{"https://example.com:8443", "example.com:8443", true},
		{"http://example.com:443", "example.com:443", true},
		{"http://[::1]", "[::1]:80", true},
		{"http://[::1]:8080", "[0:0::1]:8080", true},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", true},
		{"https://example.com", "example.com:80", false},
		{"http://example.com", "example.com:443", false},
		{"http://example.com:443", "example.com", false},
		{"https://example.com:80", "example.com", false},
		{"https://example.com", "example.com:8443", false},
		{"https://example.com:8443", "example.com", false},
		{"https://example.com", "www.example.com", false},
		{"https://example.com/", "example.com", false},
		{"https://example.com/x", "example.com", false},
		{"https://user@example.com", "example.com", false},
		{"https://example.com#", "example.com", false},
		{"https:example.com", "example.com", false},
		{"//example.com", "example.com", false},
		{"example.com", "example.com", false},
		{"ftp://example.com", "example.com", false},
		{"capacitor://localhost", "localhost", false},
		{"chrome-extension://example", "example", false},
		{"https://", "", false},
		{"https://:443", ":443", false},
		{"https://[::1", "[::1", false},
		{"https://*", "*", false},
	} {
		rt := prepare(t, open(), nil).Realtime
		for _, path := range []string{"/ren", "/realtime"} {
			r := arriving("GET", path, c.host, nil, upgrade...)
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", c.origin)
			w := httptest.NewRecorder()
			rt.Handler().ServeHTTP(w, r)
			if got := w.Code != http.StatusForbidden; got != c.want {
				t.Errorf("%s for a page of %s at %s: %d", path, c.origin, c.host, w.Code)
			}
		}
	}
}

func TestBadOrigins(t *testing.T) {
	for _, origin := range []string{
		"", "*", "null", "app.example.com", "//app.example.com", "https://app.example.com/", "https://a b",
		"https://*", "https://*.example.com", "https://app.example.com:*", "https://user@app.example.com", "https://user:pw@app.example.com",
		"https://@app.example.com", "https://app.example.com/x", "https://app.example.com?", "https://app.example.com?x", "https://app.example.com#",
		"https://bücher.example", "https://b\u00fccher.example:8443", "https://app.example.com:", "https://app.example.com:0", "https://app.example.com:x",
		"https://app.example.com:70000", "https://", "https:app.example.com", "file://", "file:///x", "wss://app.example.com", "ws://localhost:3000",
		"https://a..b", "https://[::1", "https://[fe80::1%25en0]", " https://app.example.com", "https://app.example.com ", "https://a.example,https://b.example",
		"https://a.example https://b.example", "about:blank", "data:text/html,x", "https://%61pp.example.com",
	} {
		p := open()
		p.Origins = []string{"https://app.example.com", origin}
		rt, err := realtime.New(p, nil)
		if err == nil {
			rt.Close(t.Context())
			t.Errorf("%q is taken for an origin", origin)
		} else if !strings.Contains(err.Error(), "Policy.Origins") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

// Origins are compared as browsers send them, however they are written in the
// policy, whose own list stays as it is.
func TestOriginsAsBrowsersSendThem(t *testing.T) {
	for entry, sent := range map[string]string{
		"https://app.example.com":                "https://app.example.com",
		"https://app.example.com:443":            "https://app.example.com",
		"http://app.example.com:80":              "http://app.example.com",
		"http://app.example.com:443":             "http://app.example.com:443",
		"https://app.example.com:08443":          "https://app.example.com:8443",
		"HTTPS://App.Example.COM":                "https://app.example.com",
		"https://app.example.com.":               "https://app.example.com.",
		"http://[0:0:0:0:0:0:0:1]:3000":          "http://[::1]:3000",
		"http://[::1]":                           "http://[::1]",
		"http://LOCALHOST:5173":                  "http://localhost:5173",
		"https://xn--bcher-kva.example":          "https://xn--bcher-kva.example",
		"capacitor://localhost":                  "capacitor://localhost",
		"chrome-extension://abcdefghijklmnopabc": "chrome-extension://abcdefghijklmnopabc",
	} {
		p := open()
		p.Origins = []string{entry}
		rt := prepare(t, p, nil).Realtime
		if w := send(rt.Handler(), "GET", "/realtime.js", "Origin", sent); w.Header().Get("Access-Control-Allow-Origin") != sent {
			t.Errorf("%s: a page of %s is not let in: %v", entry, sent, w.Header())
		}
		if p.Origins[0] != entry {
			t.Errorf("the policy's list has become %q", p.Origins)
		}
	}
}
