package realtime

import (
	"cmp"
	"slices"
)

// index finds the rules that match an event without asking all of them. A rule
// stands in the index of one field: under the string that its pattern is, or
// begins with.
type index struct {
	channel, key, namespace, typ, resource heads
	rest                                   []*rule // that no field helps to find
	count                                  int
}

// heads are rules by what a field has to be, or to begin with.
type heads struct {
	exact   map[string][]*rule
	begin   map[string][]*rule
	lengths []int // of the keys of begin, ascending
}

func (x *index) add(r *rule) {
	r.order = x.count
	x.count++
	type field struct {
		m  matcher
		in *heads
	}
	// The fields that tell the most apart come first.
	fields := []field{{r.channel, &x.channel}, {r.key, &x.key}, {r.namespace, &x.namespace}, {r.typ, &x.typ}, {r.resource, &x.resource}}
	if r.presence {
		fields = fields[:1] // what it matches beside messages agrees in the channel only
	}
	for _, f := range fields {
		if f.in.add(f.m, r) {
			return
		}
	}
	x.rest = append(x.rest, r)
}

func (h *heads) add(m matcher, r *rule) bool {
	if s, ok := literal(m); ok {
		if h.exact == nil {
			h.exact = make(map[string][]*rule)
		}
		h.exact[s] = append(h.exact[s], r)
		return true
	}
	s := head(m)
	if s == "" {
		return false
	}
	if h.begin == nil {
		h.begin = make(map[string][]*rule)
	}
	if i, found := slices.BinarySearch(h.lengths, len(s)); !found {
		h.lengths = slices.Insert(h.lengths, i, len(s))
	}
	h.begin[s] = append(h.begin[s], r)
	return true
}

// find returns the rules that match, in the order of their registration.
func (x *index) find(ev *RenEvent) (found []*rule) {
	s := subject{RenEvent: ev}
	ask := func(rules []*rule) {
		for _, r := range rules {
			if r.matches(&s) {
				found = append(found, r)
			}
		}
	}
	x.channel.find(ev.Channel, ask)
	x.key.find(ev.Key, ask)
	x.namespace.find(ev.Namespace, ask)
	x.typ.find(ev.Type, ask)
	x.resource.find(ev.Resource, ask)
	ask(x.rest)
	slices.SortFunc(found, func(a, b *rule) int { return cmp.Compare(a.order, b.order) })
	return found
}

func (h *heads) find(s string, ask func([]*rule)) {
	ask(h.exact[s])
	for _, n := range h.lengths {
		if n > len(s) {
			return
		}
		ask(h.begin[s[:n]])
	}
}
