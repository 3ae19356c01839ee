package realtime_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

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
