package ring

import (
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// Reader is one connection's set of subscriptions. Its methods are for one
// goroutine, the connection's owner.
type Reader struct {
	ring  *Ring
	wake  func()
	woken <-chan struct{} // receives when wake is called; nil for NewReaderFunc
	subs  []*subscription

	mu    sync.Mutex
	dirty []*subscription // those with something to read; guarded by mu
}

type subscription struct {
	reader *Reader
	topic  *topic
	place  int    // in topic.subs
	after  uint64 // the cursor: everything up to here has been returned
	passed uint64 // the number of the last live event that was returned, or came before it began
	lost   Reason // a reset is due
	resets uint64 // number of the last resetting that it knows of
	dirty  bool   // is in reader.dirty; guarded by reader.mu
	held   bool   // must not be read for now; guarded by reader.mu
	gone   bool
}

// wake marks the subscription and wakes the reader, if there is something that it has
// not read yet.
func (s *subscription) wake() {
	rd := s.reader
	rd.mu.Lock()
	marked := s.mark() && len(rd.dirty) == 1
	rd.mu.Unlock()
	if marked {
		rd.wake()
	}
}

// mark notes that there is something to read, if there is, and reports whether it was
// not noted yet. It needs Reader.mu.
func (s *subscription) mark() bool {
	s.heed()
	if s.dirty || s.held || !s.hasMore() {
		return false
	}
	s.dirty = true
	s.reader.dirty = append(s.reader.dirty, s)
	return true
}

// heed applies the last reset of the ring.
func (s *subscription) heed() {
	if last := s.reader.ring.resets; s.resets != last.number {
		s.resets, s.lost, s.after = last.number, last.why, last.seq
	}
}

// hasMore reports whether there is something to read.
func (s *subscription) hasMore() bool {
	if s.topic.kind == everything && s.reader.ring.head > s.after { // and be it what no view shows
		return true
	}
	d := s.reader.ring.list(s.topic)
	return d.Len() > 0 && d.At(d.Len()-1).Pos.Seq > s.after || s.hasLive() || s.lost != "" || s.outrun()
}

// markRest marks the subscriptions that Ring.wake has not come to yet: then those
// that are not dirty are complete. It needs Reader.mu.
func (rd *Reader) markRest() {
	for _, s := range rd.subs {
		if s.topic.waking.Load() {
			s.mark()
		}
	}
}

// NewReader returns a reader without subscriptions.
func (r *Ring) NewReader() *Reader {
	woken := make(chan struct{}, 1)
	rd := r.NewReaderFunc(func() {
		select {
		case woken <- struct{}{}:
		default: // it is being woken already
		}
	})
	rd.woken = woken
	return rd
}

// NewReaderFunc returns a reader without subscriptions. It calls wake when it has
// something to read and had nothing before. wake runs in the goroutine that adds to
// the ring, with Ring.mu held: it must not block, and must not call the ring.
func (r *Ring) NewReaderFunc(wake func()) *Reader { return &Reader{ring: r, wake: wake} }

// Wake returns a channel that receives when the reader has something to read and
// had nothing before. It is for readers of NewReader.
func (rd *Reader) Wake() <-chan struct{} { return rd.woken }

// State says how a subscription begins.
type State string

// The states.
const (
	Fresh   State = "fresh"   // from now on
	Resumed State = "resumed" // after the cursor; nothing is missing
	Reset   State = "reset"   // from now on; events after the cursor were missed
)

// Start is how a subscription begins, and where.
type Start struct {
	State  State
	Reason Reason // of a reset
	Pos    backend.Position
}

// Subscribe adds subscriptions to topics the reader does not follow yet. They
// begin after since if the ring has everything after it for all of them.
// Otherwise, and if since is nil, they begin after the newest entry. The topics may
// have events in common.
func (rd *Reader) Subscribe(since *backend.Position, topics ...Topic) Start {
	var start Start
	rd.ring.change(func() { start = rd.subscribe(since, topics) })
	return start
}

func (rd *Reader) subscribe(since *backend.Position, topics []Topic) Start {
	r := rd.ring
	r.evict(time.Now()) // without a Put nothing else enforces the age limit
	follow := make([]*topic, len(topics))
	for i, name := range topics {
		follow[i] = r.topic(name)
	}
	start := Start{State: Fresh, Pos: r.pos(r.head)}
	if since != nil {
		start.State, start.Reason = Resumed, r.missing(*since, follow)
		if start.Reason != "" {
			start.State = Reset
		} else {
			start.Pos = *since
		}
	}
	for _, t := range follow {
		s := &subscription{reader: rd, topic: t, place: len(t.subs), after: start.Pos.Seq, resets: r.resets.number, passed: r.passing.count}
		t.subs = append(t.subs, s)
		r.tally.subscribed(t)
		rd.subs = append(rd.subs, s)
		s.wake()
	}
	return start
}

// missing returns why topics cannot be read from pos, or "" if they can.
func (r *Ring) missing(pos backend.Position, topics []*topic) Reason {
	switch {
	case pos.Epoch > r.epoch, pos.Epoch == r.epoch && pos.Seq > r.head:
		return Unknown
	case pos.Epoch < r.epoch:
		return Epoch
	}
	if slices.ContainsFunc(topics, func(t *topic) bool { return pos.Seq < t.evicted }) {
		return Evicted
	}
	return ""
}

// find returns the index of the subscription to a topic, or -1.
func (rd *Reader) find(name Topic) int {
	return slices.IndexFunc(rd.subs, func(s *subscription) bool { return s.topic.Topic == name })
}

// Complete returns the place up to which a subscribed topic has been read: every
// event of the topic up to there was returned by Next. If a reset is due there is
// no such place, and Complete returns the zero Position.
func (rd *Reader) Complete(name Topic) backend.Position {
	s := rd.subs[rd.find(name)]
	rd.ring.mu.RLock()
	defer rd.ring.mu.RUnlock()
	rd.mu.Lock()
	defer rd.mu.Unlock()
	s.heed()
	switch {
	case s.lost != "" || s.outrun():
		return backend.Position{}
	case s.held || s.hasMore():
		return rd.ring.pos(s.after)
	}
	return rd.ring.pos(rd.ring.head)
}

// Hold stops the reading of a subscribed topic at pos until Release. Next
// continues with the other topics, and the position that it returns does not
// cover the held one. If pos is before the topic's cursor, the cursor moves back.
func (rd *Reader) Hold(name Topic, pos backend.Position) {
	s := rd.subs[rd.find(name)]
	rd.ring.mu.RLock()
	defer rd.ring.mu.RUnlock()
	rd.mu.Lock()
	defer rd.mu.Unlock()
	s.heed()
	if pos.Epoch == rd.ring.epoch { // otherwise a reset is due, and has moved the cursor
		s.after = pos.Seq
	}
	s.held, s.dirty = true, false
	rd.dirty = slices.DeleteFunc(rd.dirty, func(d *subscription) bool { return d == s })
}

// Release ends the Hold of a topic.
func (rd *Reader) Release(name Topic) {
	s := rd.subs[rd.find(name)]
	rd.ring.mu.RLock()
	defer rd.ring.mu.RUnlock()
	rd.mu.Lock()
	s.held = false
	rd.mu.Unlock()
	s.wake()
}

// Unsubscribe ends the subscription to a topic, if there is one.
func (rd *Reader) Unsubscribe(name Topic) {
	i := rd.find(name)
	if i < 0 {
		return
	}
	s := rd.subs[i]
	rd.subs = slices.Delete(rd.subs, i, i+1)
	rd.ring.change(s.end)
}

// end needs the ring's lock.
func (s *subscription) end() {
	s.gone = true
	subs := s.topic.subs
	last := len(subs) - 1
	subs[s.place] = subs[last]
	subs[s.place].place = s.place
	subs[last] = nil
	s.topic.subs = subs[:last]
	s.reader.ring.tally.unsubscribed(s.topic)
	s.reader.ring.forget(s.topic)
}

// Close ends all subscriptions.
func (rd *Reader) Close() {
	if len(rd.subs) == 0 {
		return
	}
	rd.ring.change(func() {
		for _, s := range rd.subs {
			s.end()
		}
	})
	rd.subs = nil
}

// Item is an entry or a reset. A reset has no Entry: events of the topic before
// Pos were missed.
type Item struct {
	Topic  Topic
	Entry  *Entry
	Reason Reason
	Pos    backend.Position
}

// Budget bounds what one call of [Reader.Next] returns. A stalled reader keeps its
// items in memory after the ring has evicted them, so it must have few.
type Budget struct {
	Entries int
	Bytes   int64
}

// Batch is the budget of readers that have no reason for another one.
var Batch = Budget{Entries: 256, Bytes: 256 << 10}

// Next appends to items what follows the reader's cursors, in log order and
// resets first, and moves the cursors. The budget may be exceeded by one entry
// for each subscription. more says that there is more to read at once; otherwise
// the reader will be woken. In both cases it is complete up to pos.
func (rd *Reader) Next(items []Item, budget Budget) (_ []Item, pos backend.Position, more bool) {
	r := rd.ring
	r.mu.RLock()
	defer r.mu.RUnlock()
	rd.mu.Lock()
	defer rd.mu.Unlock()

	rd.markRest()
	// All subscriptions are read up to the same place, the earliest at which the
	// budget stops one of them, so that the reader as a whole is complete up to it.
	upto := r.head
	if n := len(rd.dirty); n > 1 {
		budget = Budget{budget.Entries / n, budget.Bytes / int64(n)}
	}
	for _, s := range rd.dirty {
		if !s.gone && !s.outrun() {
			upto = min(upto, s.stop(budget, upto))
		}
	}
	// A reset comes before all entries after its place.
	for _, s := range rd.dirty {
		if !s.gone {
			items = s.reset(items, upto)
		}
	}
	first := len(items)
	left := rd.dirty[:0]
	for _, s := range rd.dirty {
		s.dirty = false
		if s.gone {
			continue
		}
		d, i := s.unread()
		for ; i < d.Len() && d.At(i).Pos.Seq <= upto; i++ {
			e := d.At(i)
			items = append(items, Item{Topic: s.topic.Topic, Entry: e, Pos: e.Pos})
		}
		s.after = max(s.after, upto)
		var later bool
		if items, later = s.live(items, upto); i < d.Len() || later {
			s.dirty = true
			left = append(left, s)
		}
	}
	if len(rd.dirty) > 1 || mixed(items[first:]) {
		slices.SortStableFunc(items[first:], func(a, b Item) int { return a.Pos.Compare(b.Pos) })
		once := slices.CompactFunc(items[first:], func(a, b Item) bool { return a.Entry == b.Entry })
		items = items[:first+len(once)]
	}
	clear(rd.dirty[len(left):])
	rd.dirty = left
	return items, r.pos(upto), len(left) > 0
}

// Quiet returns the newest position, and whether nothing is unread, so that the
// reader is complete up to it. What was unread of a topic that has ended counts until
// the next read: a client that is sent away now may come back for it.
func (rd *Reader) Quiet() (pos backend.Position, quiet bool) {
	rd.ring.mu.RLock()
	defer rd.ring.mu.RUnlock()
	rd.mu.Lock()
	defer rd.mu.Unlock()
	quiet = len(rd.dirty) == 0 && !slices.ContainsFunc(rd.subs, func(s *subscription) bool {
		s.heed()
		return s.topic.waking.Load() && !s.held && s.hasMore()
	})
	return rd.ring.pos(rd.ring.head), quiet
}

// Unread returns how many entries of its topics the reader has not been given yet, of
// those that it was woken for, and when the oldest of them came to this node. An entry
// of several topics counts for each. Any goroutine may call it.
func (rd *Reader) Unread() (n int, oldest time.Time) {
	if rd.idle() { // as most are: to list all readers takes the ring's lock for few
		return 0, time.Time{}
	}
	rd.ring.mu.RLock()
	defer rd.ring.mu.RUnlock()
	rd.mu.Lock()
	defer rd.mu.Unlock()
	for _, s := range rd.dirty {
		if s.gone {
			continue
		}
		d, i := s.unread()
		if i == d.Len() {
			continue
		}
		n += d.Len() - i
		if came := d.At(i).came; oldest.IsZero() || came.Before(oldest) {
			oldest = came
		}
	}
	return n, oldest
}

// idle reports whether the reader was not woken since it has read everything.
func (rd *Reader) idle() bool {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return len(rd.dirty) == 0
}

// Skip moves all cursors to the newest entry without reading.
func (rd *Reader) Skip() {
	rd.ring.mu.RLock()
	defer rd.ring.mu.RUnlock()
	rd.mu.Lock()
	defer rd.mu.Unlock()
	rd.markRest()
	for _, s := range rd.dirty {
		s.dirty, s.lost, s.after = false, "", rd.ring.head
	}
	clear(rd.dirty)
	rd.dirty = rd.dirty[:0]
}

// unread returns the entries of the topic and the index of the first one after
// the cursor.
func (s *subscription) unread() (*queue.Queue[*Entry], int) {
	d := s.reader.ring.list(s.topic)
	return d, firstAfter(d, s.after)
}

// stop returns the place where the budget stops the subscription, at most upto.
func (s *subscription) stop(budget Budget, upto uint64) uint64 {
	for d, i := s.unread(); i < d.Len() && d.At(i).Pos.Seq < upto; i++ {
		budget.Entries--
		budget.Bytes -= d.At(i).size.Load()
		if (budget.Entries <= 0 || budget.Bytes <= 0) && i+1 < d.Len() {
			return d.At(i).Pos.Seq
		}
	}
	return upto
}

// outrun reports whether the reader was so slow that entries after its cursor
// were evicted.
func (s *subscription) outrun() bool { return s.after < s.topic.evicted }

// reset appends the reset that is due, if one is. A subscription that was outrun
// skips everything up to upto: a reader that lags so far would soon be outrun
// again.
func (s *subscription) reset(items []Item, upto uint64) []Item {
	why := s.lost
	if s.outrun() {
		s.after = max(upto, s.topic.evicted)
		if why == "" {
			why = Evicted
		}
	}
	s.lost = ""
	if why == "" {
		return items
	}
	return append(items, Item{Topic: s.topic.Topic, Reason: why, Pos: s.reader.ring.pos(s.after)})
}
