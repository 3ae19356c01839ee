package postgres

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// All who may write to the database may write a message that attributes a transaction to
// anything. It attributes nothing, and does not make the events larger than what the log
// takes: the stream would never get over them.
func TestAttributeHostile(t *testing.T) {
	for name, ev := range map[string]backend.Event{
		"a user that is too long":      {User: strings.Repeat("u", 20<<20)},
		"a user with a control":        {User: "a\nb"},
		"a source that is no tag":      {Source: strings.Repeat("s", 20<<20)},
		"a source that is not UTF-8":   {Source: "\xff"},
		"a user that is longer by one": {User: strings.Repeat("u", maxName+1)},
	} {
		var said bytes.Buffer
		v := &receiver{source: &Source{log: slog.New(slog.NewTextHandler(&said, nil))}}
		p := backend.Payload{Event: ev}
		v.attribute(&logicalMessage{transactional: true, prefix: attributePrefix, content: p.Encode()})
		if v.origin.Event.User != "" || v.origin.Event.Source != "" || !strings.Contains(said.String(), "attributes nothing") {
			t.Errorf("%s: attributed to %.20q %.20q, said %.100q", name, v.origin.Event.User, v.origin.Event.Source, said.String())
		}
	}
	v := &receiver{source: &Source{}}
	p := backend.Payload{Event: backend.Event{User: strings.Repeat("u", maxName), Source: "polBsgvE5iyw58vB"}}
	v.attribute(&logicalMessage{transactional: true, prefix: attributePrefix, content: p.Encode()})
	if len(v.origin.Event.User) != maxName || v.origin.Event.Source != "polBsgvE5iyw58vB" {
		t.Errorf("attributed to %+v", v.origin)
	}
}

// A key is what the host has asked for, or none: rows that differ in the column that is
// missing must not get the same one.
func TestKeyWithoutItsColumn(t *testing.T) {
	m := relationMessage{schema: "public", name: "orders", identity: 'f', columns: []columnMessage{{name: "tenant"}, {name: "id"}}}
	table, problem := newTable(m, facts{schema: "public", name: "orders"}, map[string]Table{"orders": {Key: []string{"tenant", "nr"}}})
	if key := table.keyOf(tuple{{'t', []byte("acme")}, {'t', []byte("7")}}, true); key != "" || problem == nil {
		t.Errorf("the key is %q: %v", key, problem)
	}
}

// What the host has given is not written to.
func TestOptionsAreNotChanged(t *testing.T) {
	columns := []string{"id", "name", "total"}
	o := SourceOptions{Tables: map[string]Table{"orders": {Key: columns[:1], Data: []string{"x", "y"}}}}
	if err := o.check(&Backend{schema: "realtime"}); err != nil || columns[1] != "name" {
		t.Errorf("%v, %q", err, columns)
	}
}
