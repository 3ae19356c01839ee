// Package ring holds the recent history of a node, in log order, and the
// subscriptions that read it.
//
// A subscription is a cursor on a topic: everything, one resource domain, one
// channel, or what is granted of a domain. Replay, live delivery and catching up after
// being slow are one question, asked by [Reader.Next]: what follows my cursors? So
// there is no backlog per connection and no gap between replay and live.
//
// # Lock order
//
// Ring.mu is taken first; while it is held, Ring.changing or the mu of one Reader
// may be taken, not both. Ring.mu guards entries, topics and subscriptions, and
// lets a Reader move its cursors. Reader.mu guards the list and the marks of its
// dirty subscriptions. Entry.encoding is taken while none of these is held: encode
// runs under it, and must not call the ring.
//
// While Ring.mu is held exclusively, nothing is done for each of the subscriptions of
// a topic: there may be many thousands. See Ring.wake.
package ring

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// Limits bound the history. The oldest entries go first.
type Limits struct {
	Records int
	Bytes   int64
	Age     time.Duration
}

// Reason says why a subscription missed something.
type Reason string

// The reasons of a reset.
const (
	Evicted Reason = "evicted" // what followed the cursor is no longer in the history
	Epoch   Reason = "epoch"   // the cursor is of a log that has ended
	Unknown Reason = "unknown" // the cursor is of no place in this log
	Lost    Reason = "backend" // the engine lost records
)

// Reasons lists the reasons, as text.
var Reasons = []string{string(Evicted), string(Epoch), string(Unknown), string(Lost)}

// Ring is the history of one node. Its methods may be called concurrently, Put
// and Reset by one goroutine only.
type Ring struct {
	limits Limits
	bytes  atomic.Int64

	mu       sync.RWMutex
	epoch    uint64
	head     uint64 // seq of the newest entry, or of the one before the first to come
	entries  queue.Queue[*Entry]
	subjects subjects
	topics   map[Topic]*topic
	segments int // how many at most parts were followed with; 0 when none is followed
	parts    int // that are followed
	// evicted lists the entries evicted last, so that a topic can remember its
	// newest evicted seq after its last entry and subscriber are gone. Of a
	// topic that was forgotten, everything up to floor counts as evicted.
	evicted queue.Queue[eviction]
	floor   uint64
	lost    bool // it was reset: there was a history before its first entry
	tally   tally
	resets  resetting // the last one

	waking []*topic // are to be woken; of the goroutine that puts

	passing passing // what is told live only

	changing sync.Mutex
	changes  *changes // those that wait for the lock; nil if none do
}

// changes are made together, under one hold of the lock.
type changes struct {
	do   []func()
	made chan struct{} // closed when they have been made
}

type eviction struct {
	seq uint64
	of  *known
}

// resetting is a reset of all subscriptions there were.
type resetting struct {
	number uint64 // 1, 2, …; 0: there was none
	why    Reason
	seq    uint64 // they go on after it
}

// New returns a ring that continues the log from pos.
func New(limits Limits, pos backend.Position) *Ring {
	r := &Ring{limits: limits}
	r.restart(pos)
	return r
}

func (r *Ring) restart(pos backend.Position) {
	for r.entries.Len() > 0 {
		r.entries.Pop().leave()
	}
	r.epoch, r.head, r.floor = pos.Epoch, pos.Seq, pos.Seq
	r.evicted = queue.Queue[eviction]{}
	r.passing.clear()
	old := r.topics
	r.subjects = subjects{}
	r.topics = map[Topic]*topic{{}: {evicted: pos.Seq}}
	for name, t := range old {
		if len(t.subs) > 0 || t.kind == everything {
			t.entries, t.evicted, t.past = queue.Queue[*Entry]{}, pos.Seq, pos.Seq
			r.topics[name] = t
		}
	}
}

// Head returns the position of the newest entry.
func (r *Ring) Head() backend.Position {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.pos(r.head)
}

// At returns the entry at pos, or nil if the ring does not have it, or no view shows
// what is there. Everything up to gone has been evicted.
func (r *Ring) At(pos backend.Position) (e *Entry, gone backend.Position) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	gone = r.pos(r.topics[Topic{}].evicted)
	if i := firstAfter(&r.entries, pos.Seq-min(pos.Seq, 1)); i < r.entries.Len() && r.entries.At(i).Pos == pos {
		e = r.entries.At(i)
	}
	return e, gone
}

func (r *Ring) pos(seq uint64) backend.Position { return backend.Position{Epoch: r.epoch, Seq: seq} }

// Put adds records, of which it keeps copies, and wakes the subscriptions they concern,
// and only those.
// Records already in the ring or of an ended epoch are dropped. A gap or a new
// epoch resets all subscriptions: the missing records may have been of any topic.
func (r *Ring) Put(recs []*backend.Logged) {
	now := time.Now()
	r.put(recs, func(*backend.Logged) time.Time { return now })
}

// Fill is Put for records from before the node started. It must be called before
// anything is read.
func (r *Ring) Fill(recs []*backend.Logged) {
	r.put(recs, func(rec *backend.Logged) time.Time { return time.UnixMilli(rec.Event.UnixMilli) })
}

func (r *Ring) put(recs []*backend.Logged, came func(*backend.Logged) time.Time) {
	r.insert(recs, came)
	r.wake()
}

// insert adds records, and notes which topics are to be woken.
func (r *Ring) insert(recs []*backend.Logged, came func(*backend.Logged) time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range recs {
		switch {
		case rec.Pos.Compare(r.pos(r.head)) <= 0:
			continue
		case rec.Pos.Epoch != r.epoch:
			r.reset(backend.Position{Epoch: rec.Pos.Epoch, Seq: rec.Pos.Seq - 1}, Epoch)
		case rec.Pos.Seq != r.head+1:
			r.reset(r.pos(rec.Pos.Seq-1), Lost)
		}
		r.head = rec.Pos.Seq
		if rec.Event.Resource == "" { // the record keeps its place, but takes no room, and no view shows it
			r.due(r.topics[Topic{}])
			r.pass(rec.Live)
			continue
		}
		e := newEntry(rec, came(rec), &r.bytes)
		r.entries.Push(e)
		r.tally.added++
		r.due(r.topics[Topic{}])
		if e.of = r.know(subjectOf(&rec.Event)); e.of.entries.Len() == 0 {
			e.grow(perSubject)
		}
		e.of.entries.Push(e)
		for _, t := range e.of.topics {
			if !t.ended {
				t.add(e)
				r.due(t)
			}
		}
	}
	r.evict(time.Now())
}

// know returns what is known of a subject.
func (r *Ring) know(s subject) *known {
	if k := r.subjects.known[s]; k != nil {
		return k
	}
	k := &known{subject: s, evicted: r.floor, topics: []*topic{r.topic(Domain(s.resource))}}
	if s.namespace != "" {
		k.attach(r.topic(Part{Resource: s.resource, In: true, Namespace: s.namespace}.Topic()))
	}
	if s.channel != "" {
		k.attach(r.topic(Channel(s.channel)))
	}
	switch {
	case s.whole:
		for name, t := range r.topics {
			if s.isOf(&name) {
				k.attach(t)
			}
		}
	case r.parts > 0:
		s.parts(r.segments, func(name Topic) {
			if t := r.topics[name]; t != nil {
				k.attach(t)
			}
		})
	}
	r.subjects.add(k)
	return k
}

func (r *Ring) topic(name Topic) *topic {
	t := r.topics[name]
	if t == nil {
		t = &topic{Topic: name, evicted: r.floor, past: r.floor}
		r.topics[name] = t
		if name.kind == space || name.kind == part {
			r.gather(t)
		}
	}
	return t
}

// gather begins a topic with the events that the ring has of it.
func (r *Ring) gather(t *topic) {
	if t.kind == part {
		r.parts++
	}
	if t.under {
		r.segments = max(r.segments, 1+strings.Count(t.Name, ":")+strings.Count(t.Name, "/"))
	}
	var found []*Entry
	r.subjects.of(&t.Topic, func(k *known) {
		k.attach(t)
		t.evicted = max(t.evicted, k.evicted)
		for i := range k.entries.Len() {
			found = append(found, k.entries.At(i))
		}
	})
	slices.SortFunc(found, func(a, b *Entry) int { return cmp.Compare(a.Pos.Seq, b.Pos.Seq) })
	for _, e := range found {
		t.entries.Push(e)
	}
}

// change runs f under the lock, together with the functions of all goroutines that
// wait for it by then. Between two writers an RWMutex admits all waiting readers.
// If n readers unsubscribed one by one, each would have to wait for a round of all
// the others.
func (r *Ring) change(f func()) {
	r.changing.Lock()
	c := r.changes
	first := c == nil
	if first {
		c = &changes{made: make(chan struct{})}
		r.changes = c
	}
	c.do = append(c.do, f)
	r.changing.Unlock()
	if !first {
		<-c.made
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changing.Lock()
	r.changes = nil
	r.changing.Unlock()
	for _, f := range c.do {
		f()
	}
	close(c.made)
}

// Reset empties the ring and continues after pos. All subscriptions are reset:
// the records up to pos are lost.
func (r *Ring) Reset(pos backend.Position) {
	r.mu.Lock()
	why := Lost
	if pos.Epoch != r.epoch {
		why = Epoch
	}
	r.reset(pos, why)
	r.mu.Unlock()
	r.wake()
}

// reset notes a reset, which each subscription finds when it is read.
func (r *Ring) reset(pos backend.Position, why Reason) {
	r.tally.reset(why)
	r.restart(pos)
	r.lost = true
	r.resets = resetting{r.resets.number + 1, why, pos.Seq}
	for _, t := range r.topics {
		r.due(t)
	}
}

// evict removes entries beyond the limits. The newest entry stays whatever its
// size: otherwise nobody could read it.
func (r *Ring) evict(now time.Time) {
	for r.entries.Len() > 0 {
		n, old := r.entries.Len(), now.Sub(r.entries.At(0).came) > r.limits.Age
		if !old && n <= r.limits.Records && (n == 1 || r.bytes.Load() <= r.limits.Bytes) {
			return
		}
		r.tally.evict(old, n > r.limits.Records)
		r.evictOldest()
	}
}

// evictOldest evicts the oldest entry.
func (r *Ring) evictOldest() {
	e := r.entries.Pop()
	e.leave()
	seq := e.Pos.Seq
	r.topics[Topic{}].evicted = seq
	e.of.entries.Pop()
	e.of.evicted = seq
	for _, t := range e.of.topics {
		if !t.ended {
			t.evict(e)
		}
	}
	r.evicted.Push(eviction{seq, e.of})
	if r.evicted.Len() > r.limits.Records {
		first := r.evicted.Pop()
		r.floor = first.seq
		r.forgetSubject(first.of)
	}
}

// forgetSubject removes what is known of a subject without entries, and the topics
// that are known because of it.
func (r *Ring) forgetSubject(k *known) {
	if k.entries.Len() > 0 || k.evicted > r.floor {
		return
	}
	r.subjects.forget(k)
	for _, t := range k.topics {
		r.forget(t)
	}
}

// forget removes a topic without entries and subscribers, if its newest evicted seq
// is not after floor, which is assumed of unknown topics. A part is removed when it has
// no subscribers.
func (r *Ring) forget(t *topic) {
	switch {
	case len(t.subs) > 0 || t.kind == everything || r.topics[t.Topic] != t:
		return
	case t.kind == part:
		if r.parts--; r.parts == 0 {
			r.segments = 0
		}
	case t.entries.Len() > 0 || t.evicted > r.floor:
		return
	}
	t.ended, t.entries = true, queue.Queue[*Entry]{}
	delete(r.topics, t.Topic)
}

// list returns the entries that a topic's subscriptions read.
func (r *Ring) list(t *topic) *queue.Queue[*Entry] {
	if t.kind == everything {
		return &r.entries
	}
	return &t.entries
}

// firstAfter returns the index of the first entry after seq.
func firstAfter(d *queue.Queue[*Entry], seq uint64) int {
	if d.Len() == 0 || d.At(d.Len()-1).Pos.Seq <= seq {
		return d.Len()
	}
	return sort.Search(d.Len(), func(i int) bool { return d.At(i).Pos.Seq > seq })
}

// Followed lists the channels that somebody subscribes to.
func (r *Ring) Followed() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var names []string
	for _, t := range r.topics {
		if t.kind == channel && len(t.subs) > 0 {
			names = append(names, t.Name)
		}
	}
	return names
}

// Channels lists the channels that have a subscription or got a message since the
// given time. Presence events do not count as messages.
func (r *Ring) Channels(since time.Time) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var names []string
	for _, t := range r.topics {
		if t.kind == channel && (len(t.subs) > 0 || t.used >= since.UnixMilli()) {
			names = append(names, t.Name)
		}
	}
	return names
}
