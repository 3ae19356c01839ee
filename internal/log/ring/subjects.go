package ring

import (
	"slices"
	"sort"
	"strings"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// known is a subject that the ring has events of, or remembers some that were evicted.
type known struct {
	subject
	entries   queue.Queue[*Entry]
	evicted   uint64   // seq of the newest entry that was evicted
	topics    []*topic // which its events are in, everything excepted; some may have ended
	forgotten bool
}

// attach adds a topic.
func (k *known) attach(t *topic) {
	k.topics = slices.DeleteFunc(k.topics, func(t *topic) bool { return t.ended })
	k.topics = append(k.topics, t)
}

// subjects are all that are known. A part that is followed for the first time finds its
// events by them, without a look at the others.
type subjects struct {
	known     map[subject]*known
	whole     []*known // those that are a whole resource; the others are in sorted or recent
	sorted    []*known
	recent    []*known // came after the last sort
	forgotten int      // how many in either are no longer known
}

// mostRecent bounds what is searched without order. When there are more they are
// sorted in, which takes some 0.2 ms among 64k others.
const mostRecent = 256

func (x *subjects) add(k *known) {
	if x.known == nil {
		x.known = make(map[subject]*known)
	}
	x.known[k.subject] = k
	if k.whole {
		x.whole = append(x.whole, k)
		return
	}
	if x.recent = append(x.recent, k); len(x.recent) == mostRecent {
		x.sortIn()
	}
}

// sortIn merges recent into sorted, from the end.
func (x *subjects) sortIn() {
	slices.SortFunc(x.recent, func(a, b *known) int { return a.compare(&b.subject) })
	end := len(x.sorted) // of what has not moved
	x.sorted = append(x.sorted, x.recent...)
	for i, k := range slices.Backward(x.recent) {
		to := sort.Search(end, func(j int) bool { return x.sorted[j].compare(&k.subject) > 0 })
		copy(x.sorted[to+i+1:], x.sorted[to:end])
		x.sorted[to+i], end = k, to
	}
	clear(x.recent)
	x.recent = x.recent[:0]
}

func (x *subjects) forget(k *known) {
	delete(x.known, k.subject)
	k.forgotten = true
	if k.whole {
		x.whole = slices.DeleteFunc(x.whole, isForgotten)
		return
	}
	if x.forgotten++; x.forgotten > mostRecent && x.forgotten > len(x.known) {
		x.forgotten = 0
		x.recent, x.sorted = slices.DeleteFunc(x.recent, isForgotten), slices.DeleteFunc(x.sorted, isForgotten)
	}
}

func isForgotten(k *known) bool { return k.forgotten }

// of calls visit for the subjects whose events are in a space or part.
func (x *subjects) of(t *Topic, visit func(*known)) {
	visitKnown := func(k *known) {
		if !k.forgotten {
			visit(k)
		}
	}
	for _, list := range [][]*known{x.whole, x.recent} {
		for _, k := range list {
			if k.isOf(t) {
				visitKnown(k)
			}
		}
	}
	if t.resource != all && t.in {
		x.ofSpace(t, subject{resource: t.resource, namespace: t.namespace}, visitKnown)
		return
	}
	// One namespace after the other.
	first := 0
	if t.resource != all {
		first = x.search(subject{resource: t.resource})
	}
	for first < len(x.sorted) {
		s := x.sorted[first].subject
		if t.resource != all && s.resource != t.resource {
			return
		}
		if (!t.in || s.namespace == t.namespace) && (t.resource != all || !backend.InChannel(s.resource)) {
			x.ofSpace(t, s, visitKnown)
		}
		first += sort.Search(len(x.sorted)-first, func(i int) bool { return x.sorted[first+i].compareSpace(&s) > 0 })
	}
}

// ofSpace calls visit for the subjects of a part in the namespace that s is of.
func (x *subjects) ofSpace(t *Topic, s subject, visit func(*known)) {
	from := func(name string, is func(*known) bool) {
		begin := subject{resource: s.resource, namespace: s.namespace, channel: name, key: name}
		for _, k := range x.sorted[x.search(begin):] {
			if k.compareSpace(&s) != 0 || !is(k) {
				return
			}
			visit(k)
		}
	}
	if !t.under {
		from("", func(*known) bool { return true })
		return
	}
	from(t.Name, func(k *known) bool { return k.name() == t.Name })
	beneath := t.Name + backend.Separator(s.resource)
	from(beneath, func(k *known) bool { return strings.HasPrefix(k.name(), beneath) })
}

// search returns the index of the first subject that is not before s.
func (x *subjects) search(s subject) int {
	return sort.Search(len(x.sorted), func(i int) bool { return x.sorted[i].compare(&s) >= 0 })
}
