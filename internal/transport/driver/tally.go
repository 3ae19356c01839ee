package driver

import (
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/metric"
	"github.com/maravilla-realtime/realtime/internal/session"
)

// Traced makes the span of an event that was written to a client of a connection of a
// kind. Nil: none are made.
type Traced func(kind string, e *ring.Entry, written time.Time)

// Tally is what is counted of connections of one kind. Its methods may be called
// concurrently.
type Tally struct {
	kind   string
	traced Traced
	opened metric.Counter
	ended  *metric.Set
	resets *metric.Set
	next   atomic.Uint32
	shares [shareCount]Share
}

// NewTally returns a tally of connections of a kind, which end like that. The code of a
// refusal that is not among the endings is counted as refused.
func NewTally(kind string, traced Traced, endings ...string) *Tally {
	return &Tally{
		kind: kind, traced: traced,
		ended: metric.NewSet("refused", endings...), resets: metric.NewSet(string(ring.Lost), ring.Reasons...),
	}
}

// Share is what is counted with each write. Connections share a few of them, so
// that processors do not wait for each other's counters.
type Share struct {
	events, bytes metric.Counter
	coalesced     metric.Counter // events
	latency       metric.Histogram
	writing       metric.Gauge // connections
	_             [64]byte     // the next one is in another cache line
}

// Wait notes whether the writer of a connection waits for its client.
func (t *Share) Wait(c *conns.Conn, waits bool) {
	if c.Writing.Load() == waits { // only the writer changes it
		return
	}
	c.Writing.Store(waits)
	if waits {
		t.writing.Add(1)
	} else {
		t.writing.Add(-1)
	}
}

const shareCount = 16

// Open notes a connection, and returns what its writes are counted with.
func (c *Tally) Open() *Share {
	c.opened.Inc()
	return &c.shares[c.next.Add(1)%shareCount]
}

// Close notes the end of a connection.
func (c *Tally) Close(why error) { c.ended.Inc(endingOf(why)) }

// Sent notes a message that was written to a client, and what it says. now may be when
// its writing began, if that did not block.
func (c *Tally) Sent(by *Share, buf *session.Buffer, now time.Time) {
	if !metric.On {
		return
	}
	told := &buf.Told
	if told.Coalesced > 0 {
		by.coalesced.Add(uint64(told.Coalesced))
	}
	n := buf.Len()
	if n == 0 {
		return
	}
	by.bytes.Add(uint64(n))
	if told.Events > 0 {
		by.events.Add(uint64(told.Events))
	}
	if !told.Oldest.IsZero() {
		by.latency.Observe(now.Sub(told.Oldest))
	}
	for _, why := range told.Resets {
		c.resets.Inc(string(why))
	}
	if c.traced != nil {
		for _, e := range told.Traced {
			c.traced(c.kind, e, time.Now()) // now may be before it came
		}
	}
}

// Stats is what was counted.
type Stats struct {
	Open, Writing    int
	Opened           uint64
	Ended, Resets    map[string]uint64
	Delivered, Bytes uint64
	Coalesced        uint64 // events that clients were not sent for newer ones
	Latency          metric.Buckets
}

// Stats returns what was counted until now.
func (c *Tally) Stats() Stats {
	s := Stats{Ended: c.ended.Values(), Resets: c.resets.Values()}
	ended := c.ended.Sum() // before opened, so that the difference is not negative
	s.Opened = c.opened.Value()
	s.Open = int(s.Opened - ended)
	for i := range c.shares {
		by := &c.shares[i]
		s.Delivered += by.events.Value()
		s.Bytes += by.bytes.Value()
		s.Coalesced += by.coalesced.Value()
		s.Writing += int(by.writing.Value())
		by.latency.AddTo(&s.Latency)
	}
	return s
}
