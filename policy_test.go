package realtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
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

// The policy is asked the right questions, and clients are not told its reasons.
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

// Every refusal says in the log why, at debug level: the client is not told.
func TestReasonsAreLogged(t *testing.T) {
	secret := errors.New("the reason")
	later := fmt.Errorf("%w: the reason", realtime.ErrTemporary)
	who := func(err error, expires time.Time) func(*http.Request) (realtime.Identity, error) {
		return func(*http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: "ada", Expires: expires}, err
		}
	}
	in := func(p realtime.Policy) realtime.Policy { p.Authenticate = who(nil, time.Time{}); return p }
	grants := func(err error, list ...realtime.Grant) realtime.Policy {
		return in(realtime.Policy{Grants: func(context.Context, realtime.Identity) ([]realtime.Grant, error) { return list, err }})
	}
	allow := func(err error) realtime.Policy {
		return in(realtime.Policy{Allow: func(context.Context, realtime.Identity, realtime.Action) error { return err }})
	}
	action := realtime.Action{Verb: realtime.VerbPublish, Name: "room"}
	for name, c := range map[string]struct {
		policy realtime.Policy
		want   string
	}{
		"no policy":       {realtime.Policy{}, `"realtime: not authenticated" reason="Policy.Authenticate is nil"`},
		"not known":       {realtime.Policy{Authenticate: who(secret, time.Time{})}, `"realtime: not authenticated" reason="the reason"`},
		"expired":         {realtime.Policy{Authenticate: who(nil, time.Unix(1, 0))}, `"realtime: not authenticated" reason="realtime: credentials expired"`},
		"who, later":      {realtime.Policy{Authenticate: who(later, time.Time{})}, `come back" function=Authenticate reason="realtime: temporarily`},
		"no Grants":       {in(realtime.Policy{}), `"realtime: nothing is granted; a REN stream is refused" user=ada reason="Policy.Grants is nil"`},
		"no grants":       {grants(nil), `user=ada reason="Policy.Grants returned no grants"`},
		"empty grants":    {grants(nil, realtime.Grant{}), `user=ada reason="Policy.Grants returned only grants that grant nothing"`},
		"grants, later":   {grants(later), `come back" function=Grants reason="realtime: temporarily`},
		"no Allow":        {in(realtime.Policy{}), `"realtime: refused" user=ada verb=publish name=room reason="Policy.Allow is nil"`},
		"not allowed":     {allow(secret), `"realtime: refused" user=ada verb=publish name=room reason="the reason"`},
		"allowed, later ": {allow(later), `come back" function=Allow reason="realtime: temporarily`},
	} {
		var log bytes.Buffer
		rt := start(t, c.policy, &realtime.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		w := httptest.NewRecorder()
		rt.RenHandler().ServeHTTP(w, httptest.NewRequest("GET", "/ren", nil))
		_, _ = rt.Authorize(httptest.NewRequest("POST", "/", nil), action)
		if !strings.Contains(log.String(), c.want) || strings.Contains(w.Body.String(), "the reason") {
			t.Errorf("%s: %d %s\n%s\nwant %s", name, w.Code, w.Body, log.String(), c.want)
		}
	}
}
