package socket

import (
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// memberships are the sessions of a socket: the channels and users it is present as.
type memberships struct {
	mu  sync.Mutex
	all map[presence.Key]membership
}

type membership struct {
	presence.Session
	turn uint64 // when it was allowed last: see session.Session.Turn
}

func (ms *memberships) set(m membership) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if ms.all == nil {
		ms.all = make(map[presence.Key]membership)
	}
	ms.all[m.Key] = m
}

func (ms *memberships) remove(key presence.Key) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	delete(ms.all, key)
}

// has reports whether there is a session with the key, and how many sessions there are.
func (ms *memberships) has(key presence.Key) (ok bool, n int) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	_, ok = ms.all[key]
	return ok, len(ms.all)
}

func (ms *memberships) list() (list []membership) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.all {
		list = append(list, m)
	}
	return list
}

// confirm notes that a membership was allowed by the policy, asked at the given turn.
func (ms *memberships) confirm(key presence.Key, turn uint64) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m, ok := ms.all[key]; ok && m.turn < turn {
		m.turn = turn
		ms.all[key] = m
	}
}

// take removes a membership that the policy, asked at the given turn, did not allow,
// unless it was allowed at a later turn.
func (ms *memberships) take(key presence.Key, turn uint64) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m, ok := ms.all[key]
	if !ok || m.turn > turn {
		return false
	}
	delete(ms.all, key)
	return true
}

// Card implements [conns.Owner].
func (s *socket) Card() *conns.Card { return &s.about }

// Unread implements [conns.Owner].
func (s *socket) Unread() (int, time.Time) { return s.session.Unread() }

// Sees implements [conns.Owner].
func (s *socket) Sees() []string { return s.session.Names() }

// Joined implements [conns.Owner].
func (s *socket) Joined() (list []string) {
	for _, m := range s.sessions.list() {
		list = append(list, m.Channel)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
