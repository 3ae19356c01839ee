package refused

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/metric"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// maxNotes bounds the refusals that are remembered.
const maxNotes = 200

// Log counts what clients of a node were refused, and remembers the newest of it. Its
// methods may be called concurrently.
type Log struct {
	counts *metric.Set // by code

	mu    sync.Mutex
	notes []Note // the newest last
}

// Note is something that was refused.
type Note struct {
	Time  time.Time // the last time
	Count int       // how often it was, with all else the same
	Code  string
	About
}

// NewLog returns an empty log.
func NewLog() *Log { return &Log{counts: metric.NewSet("internal", wire.Codes()...)} }

// Add counts a refusal, remembers it, and returns it.
func (l *Log) Add(f *Refusal) *Refusal {
	l.Count(f.Code)
	l.Remember(f)
	return f
}

// Count counts a refusal, by its code.
func (l *Log) Count(code string) { l.counts.Inc(code) }

// Counts returns the number of refusals, by code.
func (l *Log) Counts() map[string]uint64 { return l.counts.Values() }

// Remember remembers a refusal. What is refused again and again is one [Note].
func (l *Log) Remember(f *Refusal) {
	n := Note{Code: f.Code, About: f.About}
	n.Reason, n.Verb, n.Name = wire.Clip(cmp.Or(n.Reason, f.Message)), wire.Clip(n.Verb), wire.Clip(n.Name)
	l.mu.Lock()
	defer l.mu.Unlock()
	same := func(have Note) bool {
		have.Time, have.Count = time.Time{}, 0
		return have == n
	}
	count := 1
	if i := slices.IndexFunc(l.notes, same); i >= 0 {
		count += l.notes[i].Count
		l.notes = slices.Delete(l.notes, i, i+1)
	} else if len(l.notes) == maxNotes {
		l.notes = slices.Delete(l.notes, 0, 1)
	}
	n.Time, n.Count = time.Now(), count
	l.notes = append(l.notes, n)
}

// Newest returns the newest refusals, at most 200, the newest first.
func (l *Log) Newest() []Note {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.Clone(l.notes)
	slices.Reverse(list)
	return list
}
