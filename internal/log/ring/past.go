package ring

import (
	"math"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// End says why nothing older of a channel can be read.
type End string

// The ends.
const (
	NoEnd     End = ""        // there is more
	Beginning End = "start"   // the log has had no older message of the channel
	Gone      End = "evicted" // older messages have been evicted, or may have been
)

// Newest is a place after all entries.
var Newest = backend.Position{Epoch: math.MaxUint64, Seq: math.MaxUint64}

// Before returns the newest messages of a channel before a place, at most n of them
// and newest first, and whether there are older ones.
func (r *Ring) Before(name string, before backend.Position, n int) ([]*Entry, End) {
	if r.aged(time.Now()) { // without a Put nothing else enforces the age limit
		r.change(func() { r.evict(time.Now()) })
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if before.Epoch < r.epoch { // which another log had given: that of a server before this one
		return nil, Gone
	}
	if t := r.topics[Channel(name)]; t != nil {
		return r.before(t, before, n)
	}
	return nil, r.end(r.floor)
}

func (r *Ring) before(t *topic, before backend.Position, n int) (found []*Entry, end End) {
	i := t.entries.Len()
	if before.Epoch == r.epoch {
		i = firstAfter(&t.entries, before.Seq-min(before.Seq, 1))
	}
	for i--; i >= 0; i-- {
		if e := t.entries.At(i); e.IsMessage() {
			if len(found) == n {
				return found, NoEnd
			}
			found = append(found, e)
		}
	}
	return found, r.end(t.past)
}

// end returns what comes before the oldest message, if messages up to past were, or may
// have been, evicted.
func (r *Ring) end(past uint64) End {
	if past == 0 && !r.lost {
		return Beginning
	}
	return Gone
}

// aged reports whether an entry is older than the age limit.
func (r *Ring) aged(now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.entries.Len() > 0 && now.Sub(r.entries.At(0).came) > r.limits.Age
}

// IsMessage reports whether the entry is a message of a channel.
func (e *Entry) IsMessage() bool { return e.Event.Type == backend.Message }
