package presence

import (
	"container/heap"
	"encoding/json"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// memberID names a member.
type memberID struct{ channel, user string }

// key returns the key of the member's record.
func (id memberID) key() backend.Key {
	return backend.Key{Kind: memberKind, Group: id.channel, Name: id.user}
}

// lockKey returns the key of the member's lock. It is unique, since channels have no
// control characters.
func (id memberID) lockKey() string { return id.channel + "\x00" + id.user }

// local holds a node's own sessions.
type local struct {
	members map[memberID]*localMember // those that have sessions here
	ends    deadlines                 // the sessions that have an end
}

type localMember struct {
	seen, stored time.Time       // when it was last seen here, and when that was last stored
	metadata     json.RawMessage // of the newest Join here
	known        known           // the record as this node wrote it last; zero: it does not know
	sessions     map[string]*session
}

// session is a session that lives on this node.
type session struct {
	Session
	node      string    // the name of this node under which it is recorded; "": it may not be recorded
	rival     rival     // another node, for which it is recorded; zero: none is known
	expires   time.Time // zero: never by itself
	leaves    time.Time // zero: no leave is scheduled
	scheduled Departure

	end   time.Time // the earlier of expires and leaves; zero: none
	index int       // in deadlines, or -1
}

// rival is a node for which a session of this node was found recorded.
type rival struct {
	node  string
	since time.Time // when one was found first
}

func (k Key) member() memberID { return memberID{k.Channel, k.User} }

// session returns a session that lives here, or nil.
func (l *local) session(k Key) *session {
	if m := l.members[k.member()]; m != nil {
		return m.sessions[k.ID]
	}
	return nil
}

func (l *local) join(s Session, node string, now time.Time) {
	m := l.members[s.member()]
	if m == nil {
		m = &localMember{sessions: make(map[string]*session)}
		l.members[s.member()] = m
	}
	m.seen, m.stored, m.metadata = now, now, s.Metadata
	it := m.sessions[s.ID]
	if it == nil {
		it = &session{index: -1}
		m.sessions[s.ID] = it
	}
	it.Session, it.node, it.rival, it.expires, it.leaves = s, node, rival{}, time.Time{}, time.Time{}
	if s.TTL > 0 {
		it.expires = now.Add(s.TTL)
	}
	l.ends.set(it, it.expires)
}

// wrote notes what is recorded of a member that has sessions here.
func (l *local) wrote(id memberID, now known) {
	if m := l.members[id]; m != nil {
		m.known = now
	}
}

func (l *local) leave(k Key, d Departure, now time.Time) {
	it := l.session(k)
	at := now.Add(d.In)
	if it == nil || !it.leaves.IsZero() && !at.Before(it.leaves) {
		return
	}
	it.leaves, it.scheduled = at, d
	l.ends.set(it, earlier(it.expires, at))
}

func (l *local) remove(k Key) {
	it := l.session(k)
	if it == nil {
		return
	}
	l.ends.set(it, time.Time{})
	m := l.members[k.member()]
	if delete(m.sessions, k.ID); len(m.sessions) == 0 {
		delete(l.members, k.member())
	}
}

// all yields the sessions that live here.
func (l *local) all(yield func(*session) bool) {
	for _, m := range l.members {
		for _, s := range m.sessions {
			if !yield(s) {
				return
			}
		}
	}
}

// touch notes that a member was seen, and reports whether to store that.
func (l *local) touch(id memberID, now time.Time) bool {
	m := l.members[id]
	if m == nil {
		return true
	}
	m.seen = now
	store := now.Sub(m.stored) >= seenEvery
	if store {
		m.stored = now
	}
	return store
}

// due returns at most n sessions whose time is over. If there is none, it returns how
// long to wait for the next one, at most the given time.
func (l *local) due(now time.Time, n int, most time.Duration) (due []Key, wait time.Duration) {
	if len(l.ends) == 0 {
		return nil, most
	}
	if wait = l.ends[0].end.Sub(now); wait > 0 {
		return nil, min(wait, most)
	}
	// The earliest sessions are among the first elements of the heap.
	for _, s := range l.ends[:min(len(l.ends), 4*n)] {
		if !s.end.After(now) && len(due) < n {
			due = append(due, s.Key)
		}
	}
	return due, 0
}

// departure says how the session ends at its end.
func (s *session) departure() Departure {
	if s.end.Equal(s.leaves) {
		return s.scheduled
	}
	return Departure{Why: Timeout}
}

// earlier returns the earlier of two times; zero for a means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// deadlines is a heap of the sessions that have an end, the next one first. Use set;
// the other methods are for container/heap.
type deadlines []*session

// set gives s the end at, or none if it is zero.
func (d *deadlines) set(s *session, at time.Time) {
	s.end = at
	switch queued := s.index >= 0; {
	case queued && at.IsZero():
		heap.Remove(d, s.index)
	case queued:
		heap.Fix(d, s.index)
	case !at.IsZero():
		heap.Push(d, s)
	}
}

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].end.Before(d[j].end) }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push implements [heap.Interface].
func (d *deadlines) Push(x any) {
	s := x.(*session)
	s.index = len(*d)
	*d = append(*d, s)
}

// Pop implements [heap.Interface].
func (d *deadlines) Pop() any {
	old := *d
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	s.index = -1
	return s
}
