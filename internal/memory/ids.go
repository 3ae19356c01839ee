package memory

import "time"

const (
	// rememberFor is the promise of [backend.Log.Append].
	rememberFor = 2 * time.Minute
	// rememberMax bounds the memory it costs (some 30 MB beside the ids): above
	// 2,100 appends a second the oldest ids are forgotten before their time.
	rememberMax = 1 << 18
)

// recentIDs knows the sequence numbers of the ids stored lately.
type recentIDs struct {
	max   int
	seqs  map[string]uint64
	order queue[storedID]
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
	for r.order.len() > 0 && now-r.order.at(0).at > rememberFor {
		r.forgetOldest()
	}
	seq, ok := r.seqs[id]
	return seq, ok
}

// add remembers id, which is not remembered yet.
func (r *recentIDs) add(id string, seq uint64, now time.Duration) {
	if r.order.len() == r.max {
		r.forgetOldest()
	}
	r.seqs[id] = seq
	r.order.push(storedID{id, now})
}

func (r *recentIDs) forgetOldest() {
	delete(r.seqs, r.order.pop().id)
}
