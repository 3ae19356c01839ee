// Package ring holds the recent history of a node, in log order, and the
// subscriptions that read it.
//
// A subscription is a cursor on a topic: everything, one resource domain, or one
// channel. Replay, live delivery and catching up after being slow are one
// question, asked by [Reader.Next]: what follows my cursors? So there is no
// backlog per connection and no gap between replay and live.
//
// # Lock order
//
// Ring.mu is taken first; while it is held, Ring.changing or the mu of one Reader
// may be taken, not both. Ring.mu guards entries, topics and subscriptions, and
// lets a Reader move its cursors. Reader.mu guards the list and the marks of its
// dirty subscriptions. Entry.encoding is taken while none of these is held: encode
// runs under it, and must not call the ring.
package ring

import (
	"sort"
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

// Topic names what a subscription follows. The zero Topic is everything.
type Topic struct {
	kind kind
	Name string
}

type kind uint8

const (
	everything kind = iota
	domain
	channel
)

// Domain is the topic of all events of one resource domain.
func Domain(name string) Topic { return Topic{domain, name} }

// Channel is the topic of the messages and presence events of one channel.
func Channel(name string) Topic { return Topic{channel, name} }

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

	mu      sync.RWMutex
	epoch   uint64
	head    uint64 // seq of the newest entry, or of the one before the first to come
	entries queue.Queue[*Entry]
	topics  map[Topic]*topic
	// evicted lists the entries evicted last, so that a topic can remember its
	// newest evicted seq after its last entry and subscriber are gone. Of a
	// topic that was forgotten, everything up to floor counts as evicted.
	evicted queue.Queue[eviction]
	floor   uint64
	lost    bool // it was reset: there was a history before its first entry
	tally   tally

	changing sync.Mutex
	changes  *changes // those that wait for the lock; nil if none do
}

// changes are made together, under one hold of the lock.
type changes struct {
	do   []func()
	made chan struct{} // closed when they have been made
}

type topic struct {
	Topic
	entries queue.Queue[*Entry]
	evicted uint64 // seq of the newest entry that was evicted
	past    uint64 // seq of the newest message that was evicted
	used    int64  // when the newest entry happened, in milliseconds since the Unix epoch
	subs    map[*subscription]struct{}
}

type eviction struct {
	seq             uint64
	domain, channel *topic // channel may be nil
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
	old := r.topics
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

// At returns the entry at pos, or nil if the ring does not have it. Everything up
// to gone has been evicted.
func (r *Ring) At(pos backend.Position) (e *Entry, gone backend.Position) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	gone = r.pos(r.head - uint64(r.entries.Len()))
	if pos.Epoch == r.epoch && pos.Seq > gone.Seq && pos.Seq <= r.head {
		e = r.entries.At(int(pos.Seq - gone.Seq - 1))
	}
	return e, gone
}

func (r *Ring) pos(seq uint64) backend.Position { return backend.Position{Epoch: r.epoch, Seq: seq} }

// Put adds records and wakes the subscriptions they concern, and only those.
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
		e := newEntry(rec, came(rec), &r.bytes)
		r.entries.Push(e)
		r.tally.added++
		r.topics[Topic{}].wake()
		if rec.Event.Resource == "" {
			continue // the record keeps its place, but no view shows it
		}
		r.add(e, Domain(rec.Event.Resource))
		if rec.Event.Channel != "" {
			r.add(e, Channel(rec.Event.Channel))
		}
	}
	r.evict(time.Now())
}

func (r *Ring) add(e *Entry, name Topic) {
	t := r.topic(name)
	t.entries.Push(e)
	if !e.Event.IsPresence() {
		t.used = e.Event.UnixMilli
	}
	t.wake()
}

func (r *Ring) topic(name Topic) *topic {
	t := r.topics[name]
	if t == nil {
		t = &topic{Topic: name, evicted: r.floor, past: r.floor}
		r.topics[name] = t
	}
	return t
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

// wake marks the topic's subscriptions. It must run under the ring's lock, in
// the same hold as the change of Put. So a reader that holds the lock finds every
// subscription marked that has unread entries.
func (t *topic) wake() {
	for s := range t.subs {
		s.mark()
	}
}

// Reset empties the ring and continues after pos. All subscriptions are reset:
// the records up to pos are lost.
func (r *Ring) Reset(pos backend.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	why := Lost
	if pos.Epoch != r.epoch {
		why = Epoch
	}
	r.reset(pos, why)
}

func (r *Ring) reset(pos backend.Position, why Reason) {
	r.tally.reset(why)
	r.restart(pos)
	r.lost = true
	for _, t := range r.topics {
		for s := range t.subs {
			s.after, s.lost = pos.Seq, why
			s.mark()
		}
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
	last := eviction{seq: seq, domain: r.topics[Domain(e.Event.Resource)], channel: r.topics[Channel(e.Event.Channel)]}
	for _, t := range []*topic{last.domain, last.channel} {
		if t != nil {
			t.entries.Pop()
			if t.evicted = seq; e.IsMessage() {
				t.past = seq
			}
		}
	}
	r.evicted.Push(last)
	if r.evicted.Len() > r.limits.Records {
		first := r.evicted.Pop()
		r.floor = first.seq
		r.forget(first.domain)
		r.forget(first.channel)
	}
}

// forget removes a topic without entries and subscribers, if its newest evicted seq
// is not after floor, which is assumed of unknown topics.
func (r *Ring) forget(t *topic) {
	if t != nil && t.kind != everything && t.entries.Len() == 0 && len(t.subs) == 0 && t.evicted <= r.floor &&
		r.topics[t.Topic] == t {
		delete(r.topics, t.Topic)
	}
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
	for name, t := range r.topics {
		if name.kind == channel && len(t.subs) > 0 {
			names = append(names, name.Name)
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
	for name, t := range r.topics {
		if name.kind == channel && (len(t.subs) > 0 || t.used >= since.UnixMilli()) {
			names = append(names, name.Name)
		}
	}
	return names
}
