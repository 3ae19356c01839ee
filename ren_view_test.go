package realtime_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func TestRENDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := start(t, open(), nil)
		few := start(t, withGrants(
			realtime.GrantAll("kv").In("demo"), realtime.GrantAll("kv").In("other"),
			realtime.GrantAll("db")), nil)
		for _, c := range []struct {
			host *host
			ask  string
			want []string
		}{
			{all, "", []string{"*"}},
			{all, "?s=", []string{"*"}},
			{all, "?s=*", []string{"*"}},
			{all, "?s=kv", []string{"kv"}},
			{all, "?s=kv,db,kv,custom", []string{"custom", "db", "kv"}},
			{few, "", []string{"db", "kv"}},
			{few, "?s=*", []string{"db", "kv"}},
			{few, "?s=kv,storage", []string{"kv"}},
			{few, "?s=storage", []string{}},
		} {
			s := c.host.ren(get("/ren" + c.ask))
			if diff := cmp.Diff(c.want, s.hello.Domains); diff != "" {
				t.Errorf("%q (-want +got):\n%s", c.ask, diff)
			}
		}

		s := all.ren(get("/ren?s=kv,custom"))
		all.emit(realtime.KVPut("n", "1"))
		all.emit(realtime.DocumentCreated("n", "2"))
		all.emit(realtime.RenEvent{Type: "x", Resource: "custom", Key: "3"})
		all.publish("room", 4)
		all.emit(realtime.KVDelete("n", "5"))
		if got := s.keys(3); got != "1 3 5" {
			t.Errorf("got %s", got)
		}
		s.nothing()
	})
}

func TestRENGrants(t *testing.T) {
	put := func(ns, key string) realtime.RenEvent { return realtime.KVPut(ns, key) }
	object := realtime.ObjectCreated
	for _, c := range []struct {
		name  string
		grant realtime.Grant
		event realtime.RenEvent
		seen  bool
	}{
		{"resource", realtime.GrantAll("kv"), put("n", "k"), true},
		{"any resource", realtime.GrantAll("*"), put("n", "k"), true},
		{"other resource", realtime.GrantAll("db"), put("n", "k"), false},
		{"namespace", realtime.GrantAll("kv").In("n"), put("n", "k"), true},
		{"other namespace", realtime.GrantAll("kv").In("n"), put("n2", "k"), false},
		{"no namespace", realtime.GrantAll("kv").In("n"), put("", "k"), false},
		{"key", realtime.GrantAll("kv").Under("acme"), put("n", "acme"), true},
		{"segment", realtime.GrantAll("kv").Under("acme"), put("n", "acme:1"), true},
		{"half a segment", realtime.GrantAll("kv").Under("acme"), put("n", "acme2"), false},
		{"foreign separator", realtime.GrantAll("kv").Under("acme"), put("n", "acme/1"), false},
		{"shorter", realtime.GrantAll("kv").Under("acme:1"), put("n", "acme"), false},
		{"object", realtime.GrantAll("storage").Under("acme"), object("acme/1.png"), true},
		{"object, half a segment", realtime.GrantAll("storage").Under("acme"), object("acme2/1.png"), false},
		{"object, foreign separator", realtime.GrantAll("storage").Under("acme"), object("acme:1.png"), false},
		{"namespace and prefix", realtime.GrantAll("kv").In("n").Under("a"), put("m", "a:1"), false},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, withGrants(c.grant), nil)
			before := string(h.Cursor())
			live := h.ren(get("/ren"))
			h.emit(c.event)
			synctest.Wait()
			replay := h.ren(get("/ren", "Last-Event-ID", before))
			for way, s := range map[string]*ren{"live": live, "replayed": replay} {
				if got := len(s.rest()) == 1; got != c.seen {
					t.Errorf("%s: seen is %v", way, got)
				}
			}
		})
	}
	bubble(t, "channel", func(t *testing.T) {
		h := start(t, withGrants(realtime.GrantAll("realtime").Under("acme").WithData(),
			realtime.GrantAll("presence").Under("acme")), nil)
		s := h.ren(get("/ren"))
		for _, channel := range []string{"acme", "acme:1", "acme2", "other"} {
			h.publish(channel, channel)
			h.join(channel, "ada", map[string]string{"secret": "s"})
		}
		got := []string{}
		for _, ev := range s.rest() {
			got = append(got, ev.Channel+" "+ev.Type+" "+string(ev.Data))
		}
		want := []string{`acme realtime.message "acme"`, "acme presence.join ", `acme:1 realtime.message "acme:1"`, "acme:1 presence.join "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// One stream may have data and another not, in any order: they share encodings.
func TestRENData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Grants = func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			all := realtime.GrantAll("realtime")
			if id.User == "ada" {
				all = all.WithData()
			}
			return []realtime.Grant{realtime.GrantAll("realtime"), realtime.GrantAll("realtime").Under("open").WithData(), all}, nil
		}
		h := start(t, p, nil)
		bare, full := h.ren(get("/ren")), h.ren(get("/ren", "Authorization", "Bearer ada"))
		h.publish("room", "secret")
		h.publish("open", "public")
		for _, c := range []struct {
			s                  *ren
			room, open, absent string
		}{{bare, "", `"public"`, `"data"`}, {full, `"secret"`, `"public"`, "never"}} {
			ev := c.s.next()
			if string(ev.Data) != c.room || strings.Contains(ev.Raw, c.absent) {
				t.Errorf("room: %s", ev.Raw)
			}
			if ev := c.s.next(); string(ev.Data) != c.open {
				t.Errorf("open: %s", ev.Raw)
			}
		}
	})
}

func TestRENSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.See = func(id realtime.Identity, ev realtime.RenEvent) bool { return ev.User != "ghost" || id.User == "ada" }
		h := start(t, p, nil)
		before := string(h.Cursor())
		others, ada := h.ren(get("/ren")), h.ren(get("/ren", "Authorization", "Bearer ada"))
		h.publish("room", 1, realtime.AsUser("ghost"))
		h.publish("room", 2, realtime.AsUser("bob"))
		if got := others.keys(1); got != "2" {
			t.Errorf("others got %s", got)
		}
		if got := ada.keys(2); got != "1 2" {
			t.Errorf("ada got %s", got)
		}
		if got := h.ren(get("/ren", "Last-Event-ID", before)).keys(1); got != "2" {
			t.Errorf("replayed: %s", got)
		}
		others.nothing()
	})
}

func TestRENSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		streams := h.handler
		mux := http.NewServeMux()
		mux.Handle("/ren", streams)
		mux.HandleFunc("/write", func(_ http.ResponseWriter, r *http.Request) {
			if err := h.Emit(r.Context(), realtime.KVPut("n", "k")); err != nil {
				t.Error(err)
			}
		})
		h.handler = h.Attribute(mux)
		h.serve()
		for _, ask := range []request{
			get("/ren", "X-Ren-Client", tab1), get("/ren?cid=" + tab1), get("/ren?cid="+tab2, "X-Ren-Client", tab1),
		} {
			s := h.ren(ask)
			if s.hello.Src != wire.Tag(tab1) {
				t.Errorf("%+v: hello %s", ask, s.hello.Raw)
			}
			for header, want := range map[string]string{tab1: wire.Tag(tab1), tab2: wire.Tag(tab2), "": "", "short": "", strings.Repeat("x", 65): ""} {
				write := get("/write")
				if header != "" {
					write = get("/write", "X-Ren-Client", header)
				}
				resp := h.do(t.Context(), write)
				resp.Body.Close()
				if resp.StatusCode != 200 || resp.Header.Get("X-Ren-Cursor") == "" {
					t.Errorf("write: %s %v", resp.Status, resp.Header)
				}
				if ev := s.next(); ev.Source != want {
					t.Errorf("client %q: src %q, want %q", header, ev.Source, want)
				}
			}
			s.cut()
		}
	})
}
