package ring

import (
	"cmp"
	"math"
	"slices"
)

// due notes that a topic is to be woken.
func (r *Ring) due(t *topic) {
	if len(t.subs) > 0 && !t.waking.Load() {
		t.waking.Store(true)
		r.waking = append(r.waking, t)
	}
}

// wake marks the subscriptions of the topics that have something new, after the ring's
// lock was given back: with 50,000 of them it takes tens of milliseconds, in which
// others read and subscribe. A reader that comes before it is marked finds its own
// subscriptions itself, by topic.waking.
//
// Topics of few are woken first, so that one of many makes no others wait.
func (r *Ring) wake() {
	if len(r.waking) > 1 {
		r.mu.RLock()
		slices.SortFunc(r.waking, func(a, b *topic) int { return cmp.Compare(len(a.subs), len(b.subs)) })
		r.mu.RUnlock()
	}
	for _, t := range r.waking {
		for left := math.MaxInt; left > 0; {
			left = r.wakeSome(t, left)
		}
	}
	clear(r.waking)
	r.waking = r.waking[:0]
}

// wakeAtOnce is how many subscriptions are marked under one hold of the lock.
const wakeAtOnce = 256

// wakeSome marks some of the first subscriptions, and returns how many of them are left.
// They go from the last to the first: so one that takes the place of another, which has
// ended meanwhile, is not left out. Those that have begun meanwhile know what they have
// to read.
func (r *Ring) wakeSome(t *topic, first int) (left int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	first = min(first, len(t.subs))
	left = max(first-wakeAtOnce, 0)
	for i := first - 1; i >= left; i-- {
		t.subs[i].wake()
	}
	if left == 0 {
		t.waking.Store(false)
	}
	return left
}
