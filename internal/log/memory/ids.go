package memory

import (
	"time"

	"github.com/maravilla-realtime/realtime/internal/queue"
)

const (
	// rememberFor is the promise of [backend.Log.Append].
	rememberFor = 2 * time.Minute
	// rememberMax bounds the memory it costs (some 30 MB beside the ids): above
	// 2,100 appends a second the oldest ids are forgotten before their time.
	rememberMax = 1 << 18
)

// recentIDs maps the ids stored recently to their sequence numbers.
type recentIDs struct {
	max   int
	seqs  map[string]uint64
	order queue.Queue[storedID]
}

type storedID struct {
	id string
	at time.Duration
}

func newRecentIDs(max int) recentIDs {
	return recentIDs{max: max, seqs: map[string]uint64{}}
}

// find returns the sequence number of id, if it is remembered at now.
func (r *recentIDs) find(id string, now time.Duration) (uint64, bool) {
	for r.order.Len() > 0 && now-r.order.At(0).at > rememberFor {
		r.forgetOldest()
	}
	seq, ok := r.seqs[id]
	return seq, ok
}

// add remembers id, which is not remembered yet.
func (r *recentIDs) add(id string, seq uint64, now time.Duration) {
	if r.order.Len() == r.max {
		r.forgetOldest()
	}
	r.seqs[id] = seq
	r.order.Push(storedID{id, now})
}

func (r *recentIDs) forgetOldest() {
	delete(r.seqs, r.order.Pop().id)
}
