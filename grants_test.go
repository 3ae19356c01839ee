package realtime_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
)

// everywhere causes an event of every kind, which a grant of all would show.
func (h *host) everywhere() {
	h.t.Helper()
	for _, ev := range []realtime.RenEvent{
		realtime.KVPut("", "k"), realtime.KVPut("n", "ada:1"), realtime.KVPut("n", "user:ada"), realtime.KVPut("n", ":todos"),
		realtime.DocumentCreated("orders", "acme:1"), realtime.ObjectCreated("photos/1.png"),
		{Resource: "jobs", Type: "done"}, {Resource: "jobs", Namespace: "n", Type: "done"}, {Resource: "jobs", Key: "ada", Type: "done"},
	} {
		h.emit(ev)
	}
	h.publish("room:42", "secret")
	h.publish("lobby", "public")
	h.join("room:42", "ada", nil)
	synctest.Wait()
}

// guest is who a host knows nothing of.
const guest = ""

var grantsOfNothing = []struct {
	grant realtime.Grant
	field string
}{
	{realtime.Grant{}, "resource"},
	{realtime.GrantAll(""), "resource"},
	{realtime.GrantAll("kv,db"), "resource"},
	{realtime.GrantAll("").In("n").Under("ada"), "resource"},
	{realtime.GrantAll("kv").In(guest), "namespace"},
	{realtime.GrantAll("kv").In(guest).Under("ada"), "namespace"},
	{realtime.GrantAll("db").In(guest), "namespace"},
	{realtime.GrantAll("jobs").In(guest), "namespace"},
	{realtime.GrantAll("*").In(guest), "namespace"},
	{realtime.GrantAll("storage").In("photos"), "namespace"},
	{realtime.GrantAll("realtime").In("lobby"), "namespace"},
	{realtime.GrantAll("presence").In("lobby"), "namespace"},
	{realtime.GrantAll("kv").In("n").In("m"), "namespace"},
	{realtime.GrantAll("kv").In(guest).In("n"), "namespace"},
	{realtime.GrantAll("kv").In("n").In("m").In("n"), "namespace"},
	{realtime.GrantAll("kv").Under("ada").Under("bob"), "prefix"},
	{realtime.GrantAll("kv").Under(guest).Under("bob"), "prefix"},
	{realtime.GrantAll("kv").Under("ada").In("n").Under("ada:todos"), "prefix"},
	{realtime.GrantAll("kv").Under(guest), "prefix"},
	{realtime.GrantAll("kv").In("n").Under(guest), "prefix"},
	{realtime.GrantAll("kv").Under(guest).In("n").WithData(), "prefix"},
	{realtime.GrantAll("kv").Under("user:" + guest), "prefix"},
	{realtime.GrantAll("kv").Under(guest + ":todos"), "prefix"},
	{realtime.GrantAll("kv").Under("user:" + guest + ":todos"), "prefix"},
	{realtime.GrantAll("kv").Under(":"), "prefix"},
	{realtime.GrantAll("db").In("orders").Under(guest), "prefix"},
	{realtime.GrantAll("jobs").Under(guest), "prefix"},
	{realtime.GrantAll("storage").Under(guest), "prefix"},
	{realtime.GrantAll("storage").Under("photos/" + guest), "prefix"},
	{realtime.GrantAll("storage").Under("/"), "prefix"},
	{realtime.GrantAll("realtime").Under(guest).WithData(), "prefix"},
	{realtime.GrantAll("realtime").Under("room:" + guest).WithData(), "prefix"},
	{realtime.GrantAll("presence").Under(guest), "prefix"},
	{realtime.GrantAll("*").Under(guest), "prefix"},
	{realtime.GrantAll("*").Under("photos/" + guest), "prefix"},
	{realtime.GrantAll("*").Under("user:" + guest), "prefix"},
}

// A value that is empty by chance never widens a grant. It grants nothing, and is
// logged once.
func TestGrantsOfNothing(t *testing.T) {
	t.Parallel()
	for _, c := range grantsOfNothing {
		bubble(t, fmt.Sprintf("%+v", c.grant), func(t *testing.T) {
			h := start(t, withGrants(c.grant), nil)
			for range 3 {
				if status, f := h.refused(get("/ren")); status != 403 || f.Code != "forbidden" {
					t.Errorf("%d %+v", status, f)
				}
			}
			log := h.logs.String()
			if strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "field="+c.field) {
				t.Errorf("logged %s, want one warning of the %s", log, c.field)
			}
		})
		bubble(t, fmt.Sprintf("%+v beside another", c.grant), func(t *testing.T) {
			h := start(t, withGrants(c.grant, realtime.GrantAll("elsewhere"), c.grant), nil)
			s := h.ren(get("/ren"))
			if fmt.Sprint(s.hello.Domains) != "[elsewhere]" {
				t.Errorf("domains %v", s.hello.Domains)
			}
			h.everywhere()
			s.nothing()
			h.emit(realtime.RenEvent{Resource: "elsewhere", Type: "t", Key: "shown"})
			if got := s.keys(1); got != "shown" {
				t.Error(got)
			}
		})
	}
}

// Which flaws were logged is remembered, but not of ever more resources.
func TestGrantFlawsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		p := open()
		p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll(fmt.Sprint("r", n.Add(1))).In("")}, nil
		}
		h := start(t, p, nil)
		for range 150 {
			h.refused(get("/ren"))
		}
		if n := strings.Count(h.logs.String(), "level=WARN"); n != 100 {
			t.Errorf("%d warnings", n)
		}
	})
}

// What a stream of a grant for all domains carries: nothing of channels, unless
// they are granted by name, and whatever it asks for.
func TestGrantOfAllDomains(t *testing.T) {
	t.Parallel()
	star, said := realtime.GrantAll("*").WithData(), realtime.GrantAll("realtime")
	const data = "k ada:1 user:ada :todos acme:1 photos/1.png jobs jobs ada"
	for _, c := range []struct {
		name, ask string
		grants    []realtime.Grant
		domains   string
		got       string
	}{
		{"all", "/ren", []realtime.Grant{star}, "[*]", data},
		{"all, asked for so", "/ren?s=*", []realtime.Grant{star}, "[*]", data},
		{"channels asked for", "/ren?s=realtime,presence", []realtime.Grant{star}, "[]", ""},
		{"channels and another", "/ren?s=realtime,presence,jobs", []realtime.Grant{star}, "[jobs]", "jobs jobs ada"},
		{"messages as well", "/ren", []realtime.Grant{star, said}, "[* realtime]", data + " room:42 lobby"},
		{"of one channel", "/ren", []realtime.Grant{said.Under("lobby"), star}, "[* realtime]", data + " lobby"},
		{"only they", "/ren?s=realtime", []realtime.Grant{said.Under("lobby"), star}, "[realtime]", "lobby"},
		{"presence as well", "/ren", []realtime.Grant{star, realtime.GrantAll("presence").Under("room")}, "[* presence]", data + " room:42"},
		{"in a namespace", "/ren", []realtime.Grant{star.In("n")}, "[*]", "ada:1 user:ada :todos jobs"},
		{"under a prefix", "/ren", []realtime.Grant{star.Under("ada")}, "[*]", "ada:1 ada"},
		{"under a folder", "/ren", []realtime.Grant{star.Under("photos")}, "[*]", "photos/1.png"},
		{"a namespace of another", "/ren", []realtime.Grant{realtime.GrantAll("jobs").In("n")}, "[jobs]", "jobs"},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, withGrants(c.grants...), nil)
			before := string(h.Cursor())
			live := h.ren(get(c.ask))
			h.everywhere()
			replay := h.ren(get(c.ask, "Last-Event-ID", before))
			for way, s := range map[string]*ren{"live": live, "replayed": replay} {
				var got []string
				for _, ev := range s.rest() {
					got = append(got, ev.Key+ev.Channel)
					if ev.Key+ev.Channel == "" {
						got[len(got)-1] = ev.Resource
					}
				}
				if fmt.Sprint(s.hello.Domains) != c.domains || strings.Join(got, " ") != c.got {
					t.Errorf("%s: domains %v, got %q, want %s %q", way, s.hello.Domains, got, c.domains, c.got)
				}
			}
		})
	}
	bubble(t, "AllowAll", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		s := h.ren(get("/ren"))
		h.everywhere()
		if got := s.rest(); len(got) != 12 || string(got[9].Data) != `"secret"` || got[11].Resource != "presence" {
			t.Errorf("%+v", got)
		}
		one := h.ren(get("/ren?s=presence,kv"))
		h.everywhere() // nobody joins, who is there
		if got := one.keys(4); fmt.Sprint(one.hello.Domains) != "[kv presence]" || got != "k ada:1 user:ada :todos" {
			t.Errorf("domains %v, got %s", one.hello.Domains, got)
		}
	})
}

// Without data the metadata of members and the data of messages stay where they
// are.
func TestGrantWithData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := realtime.GrantAll("realtime").Under("a").WithData()
		h := start(t, withGrants(realtime.GrantAll("realtime"), realtime.GrantAll("presence"), with), nil)
		s := h.ren(get("/ren"))
		h.publish("a", 1)
		h.publish("b", 2)
		h.join("a", "ada", "hidden")
		var got []string
		for _, ev := range s.rest() {
			got = append(got, ev.Channel+string(ev.Data))
		}
		if strings.Join(got, " ") != "a1 b a" {
			t.Errorf("got %q", got)
		}
	})
}

// A policy whose values become empty while a stream is open: Recheck ends it.
func TestGrantEmptiedByRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var team atomic.Pointer[string]
		set := func(name string) { team.Store(&name) }
		set("acme")
		p := open()
		p.Grants = func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("db").In("orders").Under(*team.Load())}, nil
		}
		h := start(t, p, nil)
		s := h.ren(get("/ren"))
		set("")
		h.recheck("")
		if ev := s.next(); ev.Name != "ren.bye" || ev.Reason != "forbidden" {
			t.Errorf("%s %s", ev.Name, ev.Raw)
		}
		s.ended()
	})
}
