package session

import (
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
)

// pace is how often a session takes events from the history.
type pace struct {
	every time.Duration
	due   time.Time   // nothing is taken before
	alarm *time.Timer // rings then; nil if nobody waits for it
}

// stop has the driver not be woken.
func (p *pace) stop() {
	if p != nil && p.alarm != nil {
		p.alarm.Stop()
	}
}

// rest reports whether the session takes nothing yet. The driver is woken when it does.
func (s *Session) rest() bool {
	if s.pace == nil || s.end != nil {
		return false
	}
	wait := time.Until(s.pace.due)
	if wait <= 0 {
		return false
	}
	if s.pace.alarm == nil {
		s.pace.alarm = time.AfterFunc(wait, s.wake)
	} else {
		s.pace.alarm.Reset(wait)
	}
	return true
}

// Of the events of one interval so many are kept, of so many bytes: what is beyond them
// is told in another turn, in which a key may come again.
const (
	mostLatest      = 4096
	mostLatestBytes = 4 << 20
)

// latest takes all there is, and keeps the newest event that a client sees of each key.
// The cursors stay exact: an event is left out only for one after it.
func (s *Stream) latest(items []ring.Item, b ring.Budget) (_ []ring.Item, pos backend.Position, more bool) {
	type key struct{ resource, namespace, channel, key string }
	newest := make(map[key]int) // where it stands in items
	live, bytes, read := 0, 0, 0
	for more = true; more && live < mostLatest && bytes < mostLatestBytes; {
		items, pos, more = s.reader.Next(items, b)
		for ; read < len(items); read++ {
			e := items[read].Entry
			if e == nil {
				continue // a reset is told in any case
			}
			live, bytes = live+1, bytes+len(e.Event.Data)
			if seen, _ := s.view.Stream(&e.Event); !seen || e.Event.Key == "" {
				continue
			}
			k := key{e.Event.Resource, e.Event.Namespace, e.Event.Channel, e.Event.Key}
			if i, again := newest[k]; again {
				s.buf.Told.Coalesced++
				live, bytes = live-1, bytes-len(items[i].Entry.Event.Data)
				items[i] = ring.Item{} // which is no place in the log
			}
			newest[k] = read
		}
	}
	return slices.DeleteFunc(items, func(it ring.Item) bool { return it == ring.Item{} }), pos, more
}

// Every has the stream tell at most the newest event of each key in each interval; 0: all
// at once.
func (s *Stream) Every(interval time.Duration) {
	s.pace.stop()
	if s.pace = nil; interval > 0 {
		s.pace = &pace{every: interval}
	}
}
