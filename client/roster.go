package client

import (
	"bytes"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime"
)

// Change is a join, update or leave of a member of a channel.
type Change struct {
	// Type is "join", "update" or "leave".
	Type string
	// Member is the member after the change, or, of a leave, as it was before.
	Member realtime.Member
	// Reason is why a member left: "left", "closed", "timeout", "node", or "" if the
	// server has not said.
	Reason string
}

// roster holds the members of a channel, and the loops that follow them.
type roster struct {
	known    bool // the server has sent the members
	members  map[string]realtime.Member
	parts    []realtime.Member // of a roster that has not come in whole,
	next     int               // and which part of it is next
	watchers []*watcher
}

// collect takes a roster, or a part of one, and reports whether that was the
// last.
func (r *roster) collect(f frame) (whole bool) {
	switch {
	case f.Part == 0:
		// The server sends changes after the last part only, but the cursor may move on
		// before: until then the members are unknown.
		r.abandon()
		r.known = false
	case f.Part != r.next:
		return false // the rest of one whose beginning was dropped
	}
	r.parts, r.next = append(r.parts, f.Members...), r.next+1
	if f.More {
		return false
	}
	r.replace(r.parts)
	r.abandon()
	return true
}

// abandon drops the parts that have come in.
func (r *roster) abandon() { r.parts, r.next = nil, 0 }

// apply applies one change from the server.
func (r *roster) apply(typ string, m realtime.Member, reason string) {
	old, was := r.members[m.UserID]
	is := typ != "leave"
	if is {
		if r.members == nil {
			r.members = make(map[string]realtime.Member)
		}
		r.members[m.UserID] = m
	} else {
		delete(r.members, m.UserID)
	}
	if is == was && (!is || bytes.Equal(old.Metadata, m.Metadata)) {
		return // not a change; or from before the server has sent the members
	}
	for _, w := range r.watchers {
		w.mark(m.UserID, reason)
	}
}

// replace replaces the whole roster. The watchers find the differences when they
// compare.
func (r *roster) replace(members []realtime.Member) {
	there := make(map[string]bool, len(members))
	for _, m := range members {
		there[m.UserID] = true
	}
	for _, m := range r.list() {
		if !there[m.UserID] {
			r.apply("leave", m, "")
		}
	}
	for _, m := range members {
		r.apply("join", m, "")
	}
	r.known = true
}

// forget drops the members when the server sends no further changes.
func (r *roster) forget() {
	r.known, r.members = false, nil
	r.abandon()
}

// end ends the watchers: all, or those that were asked for.
func (r *roster) end(err error, all bool) {
	r.watchers = slices.DeleteFunc(r.watchers, func(w *watcher) bool {
		if all || w.asked {
			w.end(err)
		}
		return all || w.asked
	})
}

// list returns the members, ordered by user id.
func (r *roster) list() []realtime.Member {
	list := make([]realtime.Member, 0, len(r.members))
	for _, m := range r.members {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b realtime.Member) int { return strings.Compare(a.UserID, b.UserID) })
	return list
}

// watcher is a loop over changes. Instead of a queue it has the set of users that may
// have changed. So the changes of a member are merged if the loop is slow, and each that
// it gets is true at that moment.
type watcher struct {
	told  map[string]realtime.Member
	dirty []string          // users, in the order of their first change
	why   map[string]string // of each of them, the reason it left for
	wake  chan struct{}     // holds one
	err   error             // how it ended
	used  bool              // a loop has begun
	asked bool              // a subscribe for it was sent
}

func newWatcher(r *roster) *watcher {
	w := &watcher{told: make(map[string]realtime.Member), why: make(map[string]string), wake: make(chan struct{}, 1)}
	for _, m := range r.list() {
		w.mark(m.UserID, "")
	}
	return w
}

func (w *watcher) mark(user, reason string) {
	if _, ok := w.why[user]; !ok {
		w.dirty = append(w.dirty, user)
	}
	w.why[user] = reason
	kick(w.wake)
}

// next returns the next change that the loop does not know.
func (w *watcher) next(r *roster) (c Change, ok bool) {
	for len(w.dirty) > 0 {
		user := w.dirty[0]
		if w.dirty = w.dirty[1:]; len(w.dirty) == 0 {
			w.dirty = nil // lets go of what was read
		}
		reason := w.why[user]
		delete(w.why, user)
		old, was := w.told[user]
		m, is := r.members[user]
		switch {
		case was && !is:
			delete(w.told, user)
			return Change{"leave", old, reason}, true
		case is && !was:
			w.told[user] = m
			return Change{Type: "join", Member: m}, true
		case is && !bytes.Equal(old.Metadata, m.Metadata):
			w.told[user] = m
			return Change{Type: "update", Member: m}, true
		}
	}
	return Change{}, false
}

func (w *watcher) end(err error) {
	if w.err == nil {
		w.err = err
	}
	kick(w.wake)
}
