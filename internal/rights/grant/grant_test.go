package grant_test

import (
	"slices"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
)

func TestSee(t *testing.T) {
	key := func(ns, k string) *backend.Event { return &backend.Event{Resource: "kv", Namespace: ns, Key: k} }
	message := func(channel string) *backend.Event { return &backend.Event{Resource: "realtime", Channel: channel} }
	object := func(path string) *backend.Event { return &backend.Event{Resource: "storage", Key: path} }
	for _, c := range []struct {
		grant grant.Grant
		ev    *backend.Event
		seen  bool
	}{
		{grant.Grant{Resource: "kv"}, key("n", "a"), true},
		{grant.Grant{Resource: "db"}, key("n", "a"), false},
		{grant.Grant{Resource: "*"}, key("n", "a"), true},
		{grant.Grant{Resource: "*"}, message("a"), false},
		{grant.Grant{Resource: "*", Channels: true}, message("a"), true},
		{grant.Grant{Resource: "realtime"}, message("a"), true},
		{grant.Grant{Resource: "kv", In: true, Namespace: "n"}, key("n", "a"), true},
		{grant.Grant{Resource: "kv", In: true, Namespace: "n"}, key("m", "a"), false},
		{grant.Grant{Resource: "kv", Under: true, Prefix: "acme"}, key("n", "acme"), true},
		{grant.Grant{Resource: "kv", Under: true, Prefix: "acme"}, key("n", "acme:1"), true},
		{grant.Grant{Resource: "kv", Under: true, Prefix: "acme"}, key("n", "acme2"), false},
		{grant.Grant{Resource: "kv", Under: true, Prefix: "acme"}, key("n", "acme/1"), false},
		{grant.Grant{Resource: "storage", Under: true, Prefix: "photos"}, object("photos/1.png"), true},
		{grant.Grant{Resource: "storage", Under: true, Prefix: "photos"}, object("photos:1"), false},
		{grant.Grant{Resource: "realtime", Under: true, Prefix: "room"}, message("room:42"), true},
		{grant.Grant{Resource: "realtime", Under: true, Prefix: "room"}, message("lobby"), false},
	} {
		if seen, data := grant.See([]grant.Grant{{Resource: "jobs"}, c.grant}, c.ev); seen != c.seen || data {
			t.Errorf("%v, %+v: %v, %v", c.grant, c.ev, seen, data)
		}
		c.grant.Data = true
		if seen, data := grant.See([]grant.Grant{c.grant}, c.ev); seen != c.seen || data != c.seen {
			t.Errorf("%v, %+v: %v, %v", c.grant, c.ev, seen, data)
		}
	}
	if seen, data := grant.See([]grant.Grant{{Resource: "kv"}, {Resource: "kv", Data: true}}, key("n", "a")); !seen || !data {
		t.Error("one of two grants lets the data through")
	}
	if seen, _ := grant.See(nil, key("n", "a")); seen {
		t.Error("no grants, and an event")
	}
}

func TestFlaw(t *testing.T) {
	for _, c := range []struct {
		grant grant.Grant
		field string
	}{
		{grant.Grant{}, "resource"},
		{grant.Grant{Resource: "no domain"}, "resource"},
		{grant.Grant{Resource: "*"}, ""},
		{grant.Grant{Resource: "jobs"}, ""},
		{grant.Grant{Resource: "kv", In: true}, "namespace"},
		{grant.Grant{Resource: "kv", In: true, Namespace: "n"}, ""},
		{grant.Grant{Resource: "realtime", In: true, Namespace: "n"}, "namespace"},
		{grant.Grant{Resource: "storage", In: true, Namespace: "n"}, "namespace"},
		{grant.Grant{Resource: "kv", In: true, Namespace: "n", Twice: "namespace"}, "namespace"},
		{grant.Grant{Resource: "kv", Under: true, Prefix: "ada", Twice: "prefix"}, "prefix"},
		{grant.Grant{Resource: "kv", Under: true}, "prefix"},
		{grant.Grant{Resource: "kv", Under: true, Prefix: "user:"}, "prefix"},
		{grant.Grant{Resource: "kv", Under: true, Prefix: "user/"}, ""},
		{grant.Grant{Resource: "storage", Under: true, Prefix: "user/"}, "prefix"},
		{grant.Grant{Resource: "storage", Under: true, Prefix: "user:"}, ""},
		{grant.Grant{Resource: "*", Under: true, Prefix: "user/"}, "prefix"},
		{grant.Grant{Resource: "*", Under: true, Prefix: "user:"}, "prefix"},
		{grant.Grant{Resource: "*", Under: true, Prefix: "user"}, ""},
	} {
		if field, why := c.grant.Flaw(); field != c.field || (why == "") != (field == "") {
			t.Errorf("%+v: %q, %q", c.grant, field, why)
		}
	}
}

func TestDomains(t *testing.T) {
	all := []grant.Grant{{Resource: "kv"}, {Resource: "*"}, {Resource: "kv", Data: true}}
	channels := []grant.Grant{{Resource: "*", Channels: true}}
	for _, c := range []struct {
		grants      []grant.Grant
		asked, want []string
	}{
		{nil, nil, []string{}},
		{all, nil, []string{"*", "kv"}},
		{all, []string{"realtime", "db", "kv"}, []string{"db", "kv"}},
		{all[:1], []string{"db"}, []string{}},
		{channels, []string{"realtime", "kv"}, []string{"kv", "realtime"}},
	} {
		if got := grant.Domains(c.grants, c.asked); !slices.Equal(got, c.want) || got == nil {
			t.Errorf("%v asked for %v: %q", c.grants, c.asked, got)
		}
	}
}

func TestNames(t *testing.T) {
	grants := []grant.Grant{
		{Resource: "kv", In: true, Namespace: "todos", Under: true, Prefix: "ada", Data: true}, {Resource: "*"}, {Resource: "db"}, {Resource: "db"},
	}
	for _, c := range []struct{ asked, want []string }{
		{nil, []string{"*", "db", "kv in todos under ada, with data"}},
		{[]string{"db"}, []string{"db"}},
		{[]string{"kv", "jobs"}, []string{"jobs", "kv", "kv in todos under ada, with data"}},
		{[]string{"presence"}, nil},
	} {
		if got := grant.Names(grants, c.asked); !slices.Equal(got, c.want) {
			t.Errorf("%v: %q", c.asked, got)
		}
	}
}

// What a stream reads has each topic once, and none within another that it reads.
func TestTopics(t *testing.T) {
	part := func(resource, prefix string) ring.Topic {
		return ring.Part{Resource: resource, Under: true, Prefix: prefix}.Topic()
	}
	everything := ring.Part{Resource: "*"}.Topic()
	for _, c := range []struct {
		grants []grant.Grant
		asked  []string
		want   []ring.Topic
	}{
		{nil, nil, nil},
		{[]grant.Grant{{Resource: "kv"}, {Resource: "kv", Data: true}}, nil, []ring.Topic{ring.Domain("kv")}},
		{[]grant.Grant{{Resource: "kv", Under: true, Prefix: "a"}, {Resource: "kv"}, {Resource: "db", Under: true, Prefix: "a"}}, nil,
			[]ring.Topic{ring.Domain("kv"), part("db", "a")}},
		{[]grant.Grant{{Resource: "kv"}, {Resource: "*"}}, nil, []ring.Topic{everything}},
		{[]grant.Grant{{Resource: "*"}}, []string{"kv", "realtime"}, []ring.Topic{ring.Domain("kv")}},
		{[]grant.Grant{{Resource: "kv"}}, []string{"db"}, nil},
	} {
		if got := grant.Topics(c.grants, c.asked); !slices.Equal(got, c.want) {
			t.Errorf("%v asked for %v: %v, want %v", c.grants, c.asked, got, c.want)
		}
	}
}
