package ring

import "time"

// Stats is what a ring has, and has done since it was made.
type Stats struct {
	Entries int
	Bytes   int64
	Oldest  time.Time // when the oldest entry came; zero if there is none

	Channels      int // that have a subscription
	Subscriptions int // to them

	Added                                  uint64 // entries
	Live                                   uint64 // live events of channels with a subscription
	EvictedAge, EvictedCount, EvictedBytes uint64 // by the limit that they exceeded
	ResetEpoch, ResetLost                  uint64 // of the ring as a whole
}

// tally is the part of Stats that is counted. It is guarded by Ring.mu.
type tally struct {
	channels, subscriptions int
	added                   uint64
	byAge, byCount, byBytes uint64
	epoch, lost             uint64
}

// subscribed notes a subscription that was added to a topic.
func (c *tally) subscribed(t *topic) {
	if t.kind == channel {
		if c.subscriptions++; len(t.subs) == 1 {
			c.channels++
		}
	}
}

// unsubscribed notes a subscription that was removed from a topic.
func (c *tally) unsubscribed(t *topic) {
	if t.kind == channel {
		if c.subscriptions--; len(t.subs) == 0 {
			c.channels--
		}
	}
}

func (c *tally) evict(old, many bool) {
	switch {
	case old:
		c.byAge++
	case many:
		c.byCount++
	default:
		c.byBytes++
	}
}

func (c *tally) reset(why Reason) {
	if why == Epoch {
		c.epoch++
	} else {
		c.lost++
	}
}

// Stats returns the present figures. It takes the same short time however much the ring
// has.
func (r *Ring) Stats() Stats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := &r.tally
	s := Stats{
		Entries: r.entries.Len(), Bytes: r.bytes.Load(), Channels: c.channels, Subscriptions: c.subscriptions, Added: c.added, Live: r.passing.count,
		EvictedAge: c.byAge, EvictedCount: c.byCount, EvictedBytes: c.byBytes, ResetEpoch: c.epoch, ResetLost: c.lost,
	}
	if s.Entries > 0 {
		s.Oldest = r.entries.At(0).came
	}
	return s
}
