package realtime_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A path reports whether a client got at something; change is what happens to its
// rights before that.
type path func(h *host, change func()) bool

const secret = "the-secret"

var (
	errForbidden = errors.New("forbidden")
	adaREN       = get("/ren", "Authorization", "Bearer ada")
	adaSocket    = get("/realtime", "Authorization", "Bearer ada")
)

func renLeaked(s *ren) bool {
	return slices.ContainsFunc(s.rest(), func(ev renEvent) bool { return strings.Contains(ev.Raw, secret) })
}

func socketLeaked(s *socket) bool {
	return slices.ContainsFunc(s.rest(), func(o object) bool { return strings.Contains(o.raw, secret) })
}

// readPaths are the ways to what is said in a channel.
var readPaths = map[string]path{
	"REN, live": func(h *host, change func()) bool {
		if !h.admitted(adaREN) {
			return false
		}
		s := h.ren(adaREN)
		change()
		h.publish("room", secret)
		return renLeaked(s)
	},
	"REN, replayed": func(h *host, change func()) bool {
		cursor := string(h.Cursor())
		h.publish("room", secret)
		change()
		ask := get("/ren?lastEventId="+cursor, "Authorization", "Bearer ada")
		return h.admitted(ask) && renLeaked(h.ren(ask))
	},
	"REN, presence": func(h *host, change func()) bool {
		if !h.admitted(adaREN) {
			return false
		}
		s := h.ren(adaREN)
		change()
		h.join("room", secret, nil)
		return renLeaked(s)
	},
	"WebSocket, live": func(h *host, change func()) bool {
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		s.call(subscribe("room"))
		change()
		h.publish("room", secret)
		return socketLeaked(s)
	},
	"WebSocket, replayed": func(h *host, change func()) bool {
		cursor := string(h.Cursor())
		h.publish("room", secret)
		change()
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		s.try(since("room", cursor))
		return socketLeaked(s)
	},
	"WebSocket, replayed on an old connection": func(h *host, change func()) bool {
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		cursor := string(h.Cursor())
		h.publish("room", secret)
		change()
		s.try(since("room", cursor))
		return socketLeaked(s)
	},
	"WebSocket, presence": func(h *host, change func()) bool {
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		s.call(subscribe("room") + `,"presence":true`)
		change()
		h.join("room", secret, nil)
		return socketLeaked(s)
	},
	"WebSocket, presence replayed": func(h *host, change func()) bool {
		cursor := string(h.Cursor())
		h.join("room", secret, nil)
		change()
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		s.try(since("room", cursor) + `,"presence":true`)
		return socketLeaked(s)
	},
	"WebSocket, presence.state": func(h *host, change func()) bool {
		h.join("room", secret, nil)
		change()
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		s.try(subscribe("room") + `,"presence":true`)
		return socketLeaked(s)
	},
}

// writePaths are the ways to change what others see of a channel.
var writePaths = map[string]path{
	"publish": func(h *host, change func()) bool {
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		change()
		before := h.Cursor()
		s.try(publish("room", "1"))
		synctest.Wait()
		return h.Cursor() != before
	},
	"join": func(h *host, change func()) bool {
		if !h.admitted(adaSocket) {
			return false
		}
		s := h.socket(adaSocket)
		change()
		s.try(`"op":"join","channel":"room"`)
		synctest.Wait()
		members, err := h.Presence().Members(context.Background(), "room")
		return err == nil && len(members) > 0
	},
}

type authorisation struct {
	name      string
	policy    func() realtime.Policy
	change    func(h *host)
	want      bool
	readsOnly bool
}

var authorisations = []authorisation{
	{name: "allow", policy: open, want: true},
	{name: "deny", policy: func() realtime.Policy {
		p := open()
		p.Allow = func(context.Context, realtime.Identity, realtime.Action) error { return errForbidden }
		p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return nil, errForbidden }
		return p
	}},
	{name: "allow others only", policy: func() realtime.Policy {
		p := withGrants(realtime.GrantAll("realtime").Under("lobby"), realtime.GrantAll("presence").Under("lobby"))
		p.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
			if a.Name != "lobby" {
				return errForbidden
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
				return realtime.Identity{}, errForbidden
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
				may.take("room", errForbidden)
				may.take("lobby", errForbidden)
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
		p.Authenticate = func(*http.Request) (realtime.Identity, error) { return realtime.Identity{}, errForbidden }
		return p
	}},
	{name: "zero policy", policy: func() realtime.Policy { return realtime.Policy{} }},
}

// Promise 13: authorisation is the same on every path.
func TestAuthorisation(t *testing.T) {
	t.Parallel()
	for _, c := range authorisations {
		for name, try := range readPaths {
			bubble(t, c.name+"/"+name, func(t *testing.T) { c.run(t, try) })
		}
		if c.readsOnly {
			continue
		}
		for name, try := range writePaths {
			bubble(t, c.name+"/"+name, func(t *testing.T) { c.run(t, try) })
		}
	}
}

func (c *authorisation) run(t *testing.T, try path) {
	h := start(t, c.policy(), nil)
	change := func() {
		if c.change != nil {
			c.change(h)
		}
	}
	if got := try(h, change); got != c.want {
		t.Errorf("got at it: %v, want %v", got, c.want)
	}
}
