package ring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A part finds its subjects among all, however they came and went, and looks at few
// others.
func TestSubjectsOfAPart(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string { return fmt.Sprint(rnd.IntN(n)) }
	var x subjects
	cleared := 0
	var all []*known
	for i := range 25_000 {
		if len(all) > 0 && (i/5000%2 == 1 || rnd.IntN(10) == 0) {
			at := rnd.IntN(len(all))
			k := all[at]
			all = slices.Delete(all, at, at+1)
			want := x.forgotten
			if !k.whole {
				want++
			}
			x.forget(k)
			if want > mostRecent && want > len(x.known) { // more often would be slow
				want = 0
				cleared++
			}
			if x.forgotten != want {
				t.Fatalf("%d are forgotten in order, want %d", x.forgotten, want)
			}
			continue
		}
		s := subject{resource: []string{"db", "kv", "storage", "realtime"}[rnd.IntN(4)], namespace: "n" + word(3)}
		if s.key = word(20) + ":" + word(20) + "/" + word(20); s.resource == "realtime" {
			s = subject{resource: s.resource, channel: s.key}
		} else if rnd.IntN(20) == 0 {
			s = subject{resource: s.resource, whole: true}
		} else if rnd.IntN(20) == 0 {
			s.key = []string{"", ":", "/1"}[rnd.IntN(3)] // with empty segments
		}
		if x.known[s] == nil {
			k := &known{subject: s}
			x.add(k)
			all = append(all, k)
		}
	}
	forgotten := 0
	for _, k := range slices.Concat(x.sorted, x.recent) {
		if k.forgotten {
			forgotten++
		}
	}
	if forgotten != x.forgotten || cleared == 0 {
		t.Errorf("%d are forgotten in order, of which %d are counted since the lists were cleared %d times", forgotten, x.forgotten, cleared)
	}
	if len(x.sorted) < 2000 || len(x.recent) == 0 || x.forgotten == 0 {
		t.Fatalf("%d sorted, %d recent, %d forgotten: the test is too small", len(x.sorted), len(x.recent), x.forgotten)
	}
	if !slices.IsSortedFunc(x.sorted, func(a, b *known) int { return a.compare(&b.subject) }) {
		t.Error("not sorted")
	}
	for range 200 {
		p := Part{Resource: []string{"*", "db", "kv", "storage", "realtime"}[rnd.IntN(5)]}
		if p.In = rnd.IntN(2) > 0; p.In {
			p.Namespace = "n" + word(4)
		}
		if p.Under = !p.In || rnd.IntN(3) > 0; p.Under {
			p.Prefix = []string{word(22), word(22) + ":" + word(22), word(22) + ":" + word(22) + "/" + word(22)}[rnd.IntN(3)]
		}
		topic := p.Topic()
		var want, got []string
		for s := range x.known {
			if s.isOf(&topic) {
				want = append(want, fmt.Sprint(s))
			}
		}
		x.of(&topic, func(k *known) { got = append(got, fmt.Sprint(k.subject)) })
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v: %d found, of %d\n%v\n%v", p, len(got), len(want), got, want)
		}
	}
}

// A topic names its resource if all its events are of one.
func TestResourceOfATopic(t *testing.T) {
	for topic, want := range map[Topic]string{
		{}:                           "",
		Channel("a"):                 "",
		Domain("kv"):                 "kv",
		Part{Resource: "kv"}.Topic(): "kv",
		Part{Resource: "*"}.Topic():  "",
		Part{Resource: "kv", In: true, Namespace: "n"}.Topic():      "kv",
		Part{Resource: "kv", Under: true, Prefix: "a"}.Topic():      "kv",
		Part{Resource: "*", In: true, Namespace: "n"}.Topic():       "",
		Part{Resource: "*", Under: true, Prefix: "a"}.Topic():       "",
		Part{Resource: "storage", Under: true, Prefix: "a"}.Topic(): "storage",
	} {
		if got := topic.Resource(); got != want {
			t.Errorf("%+v: %q, want %q", topic, got, want)
		}
	}
}

// The memory for parts and subjects that come and go is bounded.
func TestForgetsParts(t *testing.T) {
	const keep = 200
	r := newRing(Limits{Records: keep, Bytes: 1 << 40, Age: time.Hour})
	for seq := uint64(1); seq <= 15*keep; seq++ {
		rec := record(seq, "kv", "")
		rec.Event.Namespace, rec.Event.Key = fmt.Sprint("n", seq%7), fmt.Sprintf("user:%d:%d", seq, seq)
		r.fill(rec)
		for _, p := range []Part{{Resource: "kv", Under: true, Prefix: "user"}, {Resource: "*", Under: true, Prefix: fmt.Sprint("user:", seq)}} {
			rd := r.NewReader()
			rd.Subscribe(nil, p.Topic())
			rd.Close()
		}
	}
	if r.parts != 0 || r.segments != 0 {
		t.Errorf("%d parts are followed, of %d segments", r.parts, r.segments)
	}
	if n := len(r.topics); n != 9 { // all, kv, and its namespaces
		t.Errorf("%d topics are known", n)
	}
	if n := len(r.subjects.known); n > 2*keep+1 {
		t.Errorf("%d subjects are known", n)
	}
	if n := len(r.subjects.sorted) + len(r.subjects.recent); n > 4*keep+mostRecent+1 {
		t.Errorf("%d subjects are in order", n)
	}
	for _, k := range r.subjects.known {
		if len(k.topics) > 4 {
			t.Fatalf("%v is in %d topics", k.subject, len(k.topics))
		}
	}
}
