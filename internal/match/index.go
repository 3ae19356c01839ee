package match

import (
	"cmp"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
)

// Index finds the rules that match an event without asking all of them, and returns
// the value that each was added with. A rule stands in the index of one field: under
// the string that its pattern is, or begins with. The zero Index is empty. Find may be
// called concurrently, Add may not.
type Index[V any] struct {
	channel, key, namespace, typ, resource heads[V]
	rest                                   []*entry[V] // that no field helps to find
	all                                    []*entry[V]
}

type entry[V any] struct {
	Rule
	order int // in which it was added
	value V
}

// heads are rules by what a field has to be, or to begin with.
type heads[V any] struct {
	exact   map[string][]*entry[V]
	begin   map[string][]*entry[V]
	lengths []int // of the keys of begin, ascending
}

// Add adds a rule.
func (x *Index[V]) Add(r Rule, value V) {
	e := &entry[V]{r, len(x.all), value}
	x.all = append(x.all, e)
	type field struct {
		p  Pattern
		in *heads[V]
	}
	// The fields that tell the most apart come first.
	fields := []field{{r.Channel, &x.channel}, {r.Key, &x.key}, {r.Namespace, &x.namespace}, {r.Type, &x.typ}, {r.Resource, &x.resource}}
	if r.Presence {
		fields = fields[:1] // what it matches beside messages agrees in the channel only
	}
	for _, f := range fields {
		if f.in.add(f.p, e) {
			return
		}
	}
	x.rest = append(x.rest, e)
}

func (h *heads[V]) add(p Pattern, e *entry[V]) bool {
	if s, ok := Literal(p); ok {
		if h.exact == nil {
			h.exact = make(map[string][]*entry[V])
		}
		h.exact[s] = append(h.exact[s], e)
		return true
	}
	s := head(p)
	if s == "" {
		return false
	}
	if h.begin == nil {
		h.begin = make(map[string][]*entry[V])
	}
	if i, found := slices.BinarySearch(h.lengths, len(s)); !found {
		h.lengths = slices.Insert(h.lengths, i, len(s))
	}
	h.begin[s] = append(h.begin[s], e)
	return true
}

// MayMatchIn reports whether a rule can match events of a domain, which are of no channel.
func (x *Index[V]) MayMatchIn(domain string) bool {
	return slices.ContainsFunc(x.all, func(e *entry[V]) bool { return e.MayMatchIn(domain) })
}

// Find returns the values of the rules that match, in the order they were added.
func (x *Index[V]) Find(ev *backend.Event) []V {
	var found []*entry[V]
	s := subject{Event: ev}
	ask := func(entries []*entry[V]) {
		for _, e := range entries {
			if e.matches(&s) {
				found = append(found, e)
			}
		}
	}
	x.channel.find(ev.Channel, ask)
	x.key.find(ev.Key, ask)
	x.namespace.find(ev.Namespace, ask)
	x.typ.find(ev.Type, ask)
	x.resource.find(ev.Resource, ask)
	ask(x.rest)
	if len(found) == 0 {
		return nil
	}
	slices.SortFunc(found, func(a, b *entry[V]) int { return cmp.Compare(a.order, b.order) })
	values := make([]V, len(found))
	for i, e := range found {
		values[i] = e.value
	}
	return values
}

func (h *heads[V]) find(s string, ask func([]*entry[V])) {
	ask(h.exact[s])
	for _, n := range h.lengths {
		if n > len(s) {
			return
		}
		ask(h.begin[s[:n]])
	}
}
