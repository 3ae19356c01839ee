package ring

import (
	"container/list"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// The bounds of live messages. They are for readers that are about to read: a stalled
// reader never gets those that it does not take in time, and is not told.
const (
	liveAge     = 10 * time.Second
	liveRecords = 1 << 14
	liveBytes   = 8 << 20
	liveKinds   = 256 // of one channel
)

// passing holds the newest live event of each user and kind in a channel, for the
// subscriptions that have not read it. The lock of the ring guards it.
type passing struct {
	count  uint64 // of live events so far, which numbers them
	oldest list.List
	bytes  atomic.Int64
}

// passed is a live event. The kind of the event is that of its Logged.
type passed struct {
	*Entry
	number uint64
	topic  *topic
	place  *list.Element // in passing.oldest
}

// pass takes what a record tells live only. Only those who subscribe now get it.
func (r *Ring) pass(live []*backend.Logged) {
	now := time.Now()
	for _, rec := range live {
		t := r.topics[Channel(rec.Event.Channel)]
		if t == nil || len(t.subs) == 0 {
			continue
		}
		i := slices.IndexFunc(t.live, func(p *passed) bool { return p.Kind == rec.Kind && sender(&p.Logged) == sender(rec) })
		switch {
		case i >= 0:
			r.passing.remove(t.live[i])
		case len(t.live) == liveKinds:
			r.passing.remove(t.live[0])
		}
		r.passing.count++
		p := &passed{Entry: newEntry(rec, now, &r.passing.bytes), number: r.passing.count, topic: t}
		p.place = r.passing.oldest.PushBack(p)
		t.live = append(t.live, p)
		r.due(t)
	}
	r.passing.expire(now)
}

// sender returns who sends a live event: a user, or a client without one.
func sender(rec *backend.Logged) (id struct{ user, client string }) {
	if id.user = rec.Event.User; id.user == "" {
		id.client = rec.Event.Source
	}
	return id
}

// expire removes what is beyond the bounds.
func (ps *passing) expire(now time.Time) {
	for ps.oldest.Len() > 0 {
		p := ps.oldest.Front().Value.(*passed)
		if ps.oldest.Len() <= liveRecords && ps.bytes.Load() <= liveBytes && now.Sub(p.came) <= liveAge {
			return
		}
		ps.remove(p)
	}
}

func (ps *passing) remove(p *passed) {
	p.leave()
	ps.oldest.Remove(p.place)
	p.topic.live = slices.DeleteFunc(p.topic.live, func(other *passed) bool { return other == p })
}

// clear removes everything.
func (ps *passing) clear() {
	for ps.oldest.Len() > 0 {
		ps.remove(ps.oldest.Front().Value.(*passed))
	}
}

// live appends the live events up to a place that the subscription has not returned.
// later: there are others after it.
func (s *subscription) live(items []Item, upto uint64) (_ []Item, later bool) {
	if !s.hasLive() {
		return items, false
	}
	now := time.Now()
	for _, p := range s.topic.live {
		switch {
		case p.number <= s.passed:
		case now.Sub(p.came) > liveAge: // nothing has come since that would have removed it
			s.passed = p.number
		case p.Pos.Seq > upto:
			return items, true
		default:
			items = append(items, Item{Topic: s.topic.Topic, Entry: p.Entry, Pos: p.Pos})
			s.passed = p.number
		}
	}
	return items, false
}

// hasLive reports whether there are live events that the subscription has not returned.
func (s *subscription) hasLive() bool {
	n := len(s.topic.live)
	return n > 0 && s.topic.live[n-1].number > s.passed
}

// mixed reports whether live events are among the items of one subscription, after
// entries of the history.
func mixed(items []Item) bool {
	return len(items) > 1 && items[len(items)-1].Entry.Ephemeral
}
