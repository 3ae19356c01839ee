package realtime

import (
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// waiting are the sessions of connections that have closed and that last out
// their grace, so that they can be ended before: whoever leaves on purpose does
// not stay for the sake of a connection that broke a moment ago. It knows those
// of this node.
type waiting struct {
	mu       sync.Mutex
	sessions map[client]map[backend.SessionKey]time.Time // and when their grace is over
	purge    time.Time                                   // when to look for those that are
}

// client is one client id, by its tag, in a channel.
type client struct{ channel, user, tag string }

func clientOf(s backend.Session) client { return client{s.Channel, s.User, s.Source} }

func (w *waiting) add(s backend.Session, ends time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sessions == nil {
		w.sessions = make(map[client]map[backend.SessionKey]time.Time)
	}
	who := clientOf(s)
	if w.sessions[who] == nil {
		w.sessions[who] = make(map[backend.SessionKey]time.Time)
	}
	w.sessions[who][s.SessionKey] = ends
}

// take returns the sessions of a client, which do not wait any more.
func (w *waiting) take(who client) (keys []backend.SessionKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.sessions[who] {
		keys = append(keys, key)
	}
	delete(w.sessions, who)
	return keys
}

// takeUser is take for all clients of a user.
func (w *waiting) takeUser(user string) (keys []backend.SessionKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for who, sessions := range w.sessions {
		if who.user == user {
			for key := range sessions {
				keys = append(keys, key)
			}
			delete(w.sessions, who)
		}
	}
	return keys
}

// forget drops the sessions whose grace is over.
func (w *waiting) forget(now time.Time) {
	const every = 5 * time.Second
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.purge) {
		return
	}
	w.purge = now.Add(every)
	for who, sessions := range w.sessions {
		for key, ends := range sessions {
			if !ends.After(now) {
				delete(sessions, key)
			}
		}
		if len(sessions) == 0 {
			delete(w.sessions, who)
		}
	}
}
