package ring

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// TestAgainstModel lets readers come, read by halves, go and come back with
// their cursor, while records are put and some are lost, and compares what each
// is told with a plain list of all records: everything of its topics after its
// cursor, in order, once, or a reset.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		m := newModel(seed)
		for range 400 {
			m.step(t)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type model struct {
	rnd     *rand.Rand
	ring    *Ring
	keep    int
	log     []*backend.Logged // all there ever was; nil is one that was lost
	gone    uint64            // seq of the last that was lost
	readers []*modelReader
	away    []*modelReader // with a cursor, to come back
}

type modelReader struct {
	reader *Reader
	idle   bool // waits to be woken
	topics []Topic
	cursor uint64
}

var modelParts = []Part{
	{Resource: "*"}, {Resource: "kv"}, {Resource: "realtime"}, {Resource: "presence"}, {Resource: "storage"},
	{Resource: "kv", In: true, Namespace: "n"}, {Resource: "kv", In: true, Namespace: "m"}, {Resource: "kv", In: true}, {Resource: "*", In: true, Namespace: "n"},
	{Resource: "kv", Under: true, Prefix: "a"}, {Resource: "kv", Under: true, Prefix: "a:1"}, {Resource: "kv", In: true, Namespace: "n", Under: true, Prefix: "a"},
	{Resource: "*", Under: true, Prefix: "a"}, {Resource: "*", In: true, Namespace: "n", Under: true, Prefix: "a"},
	{Resource: "realtime", Under: true, Prefix: "a"}, {Resource: "presence", Under: true, Prefix: "c"},
	{Resource: "storage", Under: true, Prefix: "a"}, {Resource: "storage", Under: true, Prefix: "a/1"}, {Resource: "never", Under: true, Prefix: "a"},
}

var modelSubjects = []subject{
	{"kv", "", "", "a", false}, {"kv", "n", "", "a", false}, {"kv", "n", "", "a:1", false}, {"kv", "n", "", "a:1:2", false}, {"kv", "n", "", "a!", false}, {"kv", "m", "", "a:2", false}, {"kv", "m", "", "b", false}, {"kv", "n", "", ":a", false}, {"kv", "", "", "", false},
	{"realtime", "", "a", "", false}, {"realtime", "", "a:1", "", false}, {"realtime", "", "b", "", false}, {"presence", "", "a", "", false}, {"presence", "", "c", "", false},
	{"storage", "", "", "a/1/2", false}, {"storage", "", "", "a/2", false}, {"storage", "", "", "a:1", false}, {"kv", "", "", "", true},
	{}, // of a record that no view shows
}

// of is what an event is of, in plain words.
func (p *Part) of(ev *backend.Event) bool {
	name, sep := ev.Key, ":"
	switch ev.Resource {
	case "realtime", "presence":
		name = ev.Channel
	case "storage":
		sep = "/"
	}
	if p.Resource == "*" && (p.In || p.Under) && ev.Channel != "" {
		return false
	}
	if ev.IsReset() {
		return p.Resource == "*" || p.Resource == ev.Resource
	}
	return (p.Resource == "*" || p.Resource == ev.Resource) && (!p.In || p.Namespace == ev.Namespace) &&
		(!p.Under || name == p.Prefix || strings.HasPrefix(name, p.Prefix+sep))
}

// topicHas reports whether an event is of a topic.
func topicHas(topic Topic, ev *backend.Event) bool {
	if ev.Resource == "" {
		return false
	}
	if topic.kind == channel {
		return topic.Name == ev.Channel
	}
	p := Part{topic.resource, topic.in, topic.namespace, topic.under, topic.Name}
	switch topic.kind {
	case everything:
		p.Resource = "*"
	case domain:
		p.Resource = topic.Name
	}
	return p.of(ev)
}

func modelTopic(rnd *rand.Rand) Topic {
	if rnd.IntN(4) == 0 {
		return Channel([]string{"a", "a:1", "b", "c"}[rnd.IntN(4)])
	}
	return modelParts[rnd.IntN(len(modelParts))].Topic()
}

func newModel(seed uint64) *model {
	rnd := rand.New(rand.NewPCG(seed, 1))
	keep := 1 + rnd.IntN(30)
	return &model{rnd: rnd, keep: keep, ring: newRing(Limits{Records: keep, Bytes: 1 << 40, Age: time.Hour})}
}

func (m *model) step(t *testing.T) {
	switch k := m.rnd.IntN(12); {
	case k < 5:
		m.put()
	case k == 10:
		for _, topic := range m.ring.waking { // a step of Ring.wake
			if topic.waking.Load() {
				m.ring.wakeSome(topic, math.MaxInt)
				break
			}
		}
	case k == 11:
		m.ring.wake()
		m.checkWoken(t)
	case k < 6 && len(m.readers) < 5:
		m.come(t)
	case k < 9 && len(m.readers) > 0:
		m.checkQuiet(t)
		m.read(t, m.readers[m.rnd.IntN(len(m.readers))], 1+m.rnd.IntN(5))
	case len(m.readers) > 0:
		i := m.rnd.IntN(len(m.readers))
		m.readers[i].reader.Close()
		m.away = append(m.away, m.readers[i])
		m.readers = slices.Delete(m.readers, i, i+1)
	}
}

func (m *model) put() {
	var recs []*backend.Logged
	for range 1 + m.rnd.IntN(4) {
		seq := uint64(len(m.log) + 1)
		if m.rnd.IntN(40) == 0 {
			m.log = append(m.log, nil)
			m.gone = seq
			seq++
		}
		of := modelSubjects[m.rnd.IntN(len(modelSubjects))]
		rec := record(seq, of.resource, of.channel)
		if rec.Event.Namespace, rec.Event.Key = of.namespace, of.key; of.whole {
			rec.Event.Type = backend.Reset
		}
		m.log = append(m.log, rec)
		recs = append(recs, rec)
	}
	m.ring.insert(recs, now) // and wakes nobody yet
}

// checkWoken checks that those are woken who have something to read, and nobody else,
// and what they say is unread.
func (m *model) checkWoken(t *testing.T) {
	for _, r := range m.readers {
		unread := m.after(r.topics, r.cursor)
		if woken := len(r.reader.Wake()) > 0; r.idle && woken != m.hasNews(r) {
			t.Errorf("%v at %d: woken %v, with %v unread", r.topics, r.cursor, woken, unread)
		}
		var want int
		var since time.Time
		for _, topic := range r.topics {
			for _, seq := range m.after([]Topic{topic}, r.cursor) {
				if e, _ := m.ring.At(*at(seq)); e != nil {
					if want++; since.IsZero() || e.came.Before(since) {
						since = e.came
					}
				}
			}
		}
		if n, oldest := r.reader.Unread(); n != want || !oldest.Equal(since) {
			t.Errorf("%v at %d: %d unread since %v, want %d since %v", r.topics, r.cursor, n, oldest, want, since)
		}
	}
}

// checkQuiet checks what readers say of themselves.
func (m *model) checkQuiet(t *testing.T) {
	for _, r := range m.readers {
		if pos, quiet := r.reader.Quiet(); quiet == m.hasNews(r) || pos.Seq != uint64(len(m.log)) {
			t.Errorf("%v at %d: quiet %v at %v, with %v unread", r.topics, r.cursor, quiet, pos, m.after(r.topics, r.cursor))
		}
		for _, topic := range r.topics {
			pos, unread := r.reader.Complete(topic), m.after([]Topic{topic}, r.cursor)
			var ok bool
			switch {
			case len(unread) > 0 && m.isGone(unread[0]):
				ok = pos == backend.Position{}
			case len(unread) > 0:
				ok = pos.Epoch == epoch && pos.Seq < unread[0]
			case topic == Topic{}:
				ok = pos == *at(r.cursor)
			default:
				ok = pos == *at(uint64(len(m.log)))
			}
			if !ok {
				t.Errorf("%v at %d: %v is complete up to %v, with %v unread", r.topics, r.cursor, topic, pos, unread)
			}
		}
	}
}

// hasNews reports whether a reader has something to read, and be it the place of a record
// that no view shows.
func (m *model) hasNews(r *modelReader) bool {
	return len(m.after(r.topics, r.cursor)) > 0 || slices.Contains(r.topics, Topic{}) && r.cursor < uint64(len(m.log))
}

// isGone reports whether a record was lost, or evicted.
func (m *model) isGone(seq uint64) bool {
	if seq <= m.gone {
		return true
	}
	kept := 0
	for _, rec := range m.log[seq-1:] {
		if rec.Event.Resource != "" {
			kept++
		}
	}
	return kept > m.keep
}

func (m *model) come(t *testing.T) {
	r := &modelReader{reader: m.ring.NewReader()}
	var since *backend.Position
	if len(m.away) > 0 && m.rnd.IntN(3) > 0 {
		i := m.rnd.IntN(len(m.away))
		r.topics, since = m.away[i].topics, at(m.away[i].cursor)
		m.away = slices.Delete(m.away, i, i+1)
	} else {
		for range 1 + m.rnd.IntN(3) {
			if topic := modelTopic(m.rnd); !slices.Contains(r.topics, topic) {
				r.topics = append(r.topics, topic)
			}
		}
	}
	start := r.reader.Subscribe(since, r.topics...)
	r.cursor, r.idle = start.Pos.Seq, true
	if since != nil && start.State == Reset {
		missed := m.after(r.topics, since.Seq)
		remembered := int(since.Seq) >= len(m.log)-2*m.keep
		if remembered && (len(missed) == 0 || !m.isGone(missed[0])) {
			t.Errorf("%v: reset from %d, though %v is all there is", r.topics, since.Seq, missed)
		}
	}
	m.readers = append(m.readers, r)
}

func (m *model) after(topics []Topic, seq uint64) (seqs []uint64) {
	for i, rec := range m.log[seq:] {
		if rec == nil || slices.ContainsFunc(topics, func(topic Topic) bool { return topicHas(topic, &rec.Event) }) {
			seqs = append(seqs, seq+uint64(i)+1) // a lost one may have been of any topic
		}
	}
	return seqs
}

func (m *model) read(t *testing.T, r *modelReader, limit int) {
	select {
	case <-r.reader.Wake():
	default:
	}
	items, pos, more := r.reader.Next(nil, Budget{limit, 1 << 40})
	r.idle = !more
	resets := map[Topic]uint64{} // where they go on
	for len(items) > 0 && items[0].Entry == nil {
		it := items[0]
		missed := m.after([]Topic{it.Topic}, r.cursor)
		if len(missed) == 0 || !m.isGone(missed[0]) || (it.Reason == Lost) != (r.cursor < m.gone) {
			t.Errorf("%v at %d: %v is reset: %s; %v is unread", r.topics, r.cursor, it.Topic, it.Reason, missed)
		}
		resets[it.Topic] = it.Pos.Seq
		items = items[1:]
	}
	var want, got []uint64
	for _, topic := range r.topics {
		for _, seq := range m.after([]Topic{topic}, max(r.cursor, resets[topic])) {
			if seq <= pos.Seq {
				want = append(want, seq)
			}
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, it := range items {
		got = append(got, it.Pos.Seq)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v at %d, complete up to %d, reset to %v: got %v, want %v", r.topics, r.cursor, pos.Seq, resets, got, want)
	}
	if !more && pos.Seq != uint64(len(m.log)) {
		t.Errorf("%v: no more to read at %d of %d", r.topics, pos.Seq, len(m.log))
	}
	r.cursor = pos.Seq
}
