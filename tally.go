package realtime

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/guard"
	"github.com/maravilla-realtime/realtime/internal/metric"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
)

// tally is what this package counts for [Stats]. Its engines count the rest, each where
// it happens.
type tally struct {
	started        time.Time
	ren, webSocket connTally
	operations     *metric.Set
	refusals       *metric.Set
}

func (t *tally) init(spans DeliveryTracer) {
	t.ren.kind, t.webSocket.kind = "ren", "websocket"
	t.ren.spans, t.webSocket.spans = spans, spans
	t.started = time.Now()
	t.ren.init("client", "slow", "closing", "rotate", "expired", "revoked", "refused", "unavailable", "internal")
	t.webSocket.init("client", "slow", "dead", "violation", "closing", "rotate", "expired", "revoked", "refused", "hello_required",
		"unavailable", "internal")
	t.operations = metric.NewSet("other", wire.Ops()...)
	t.refusals = metric.NewSet("internal", wire.Codes()...)
}

// refuse counts a refusal, remembers it for [Realtime.Refusals], and returns it.
func (rt *Realtime) refuse(f *refusal) *refusal {
	rt.tally.refusals.Inc(f.Code)
	rt.refusals.add(f)
	return f
}

// connTally is what is counted of connections of one kind.
type connTally struct {
	kind   string         // see Connection.Kind
	spans  DeliveryTracer // nil: none
	opened metric.Counter
	ended  *metric.Set
	resets *metric.Set
	next   atomic.Uint32
	shares [sentShares]sentTally
}

// sentTally is what is counted with each write. Connections share a few of them, so
// that processors do not wait for each other's counters.
type sentTally struct {
	events, bytes metric.Counter
	coalesced     metric.Counter // events
	latency       metric.Histogram
	writing       metric.Gauge // connections
	_             [64]byte     // the next one is in another cache line
}

// wait notes whether the writer of a connection waits for its client.
func (t *sentTally) wait(c *conns.Conn, waits bool) {
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

const sentShares = 16

// init makes the tally ready for connections that end like that. The code of a refusal
// that is not among the endings is counted as refused.
func (c *connTally) init(endings ...string) {
	c.ended = metric.NewSet("refused", endings...)
	c.resets = metric.NewSet(string(ring.Lost), ring.Reasons...)
}

// open notes a connection, and returns what its writes are counted with.
func (c *connTally) open() *sentTally {
	c.opened.Inc()
	return &c.shares[c.next.Add(1)%sentShares]
}

// close notes the end of a connection.
func (c *connTally) close(why error) { c.ended.Inc(endingOf(why)) }

// sent notes a message that was written to a client, and what it says. now may be when
// its writing began, if that did not block.
func (c *connTally) sent(by *sentTally, buf *session.Buffer, now time.Time) {
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
	if c.spans != nil && len(told.Traced) > 0 {
		now := time.Now() // not before the last of them came
		for _, e := range told.Traced {
			c.spans.Deliver(TraceContext(e.Trace), RenEvent(e.Event), ClientDelivery{Kind: c.kind, Came: e.Came(), Written: now})
		}
	}
}

// coalesced returns how many events clients were not sent for newer ones.
func (c *connTally) coalesced() (n uint64) {
	for i := range c.shares {
		n += c.shares[i].coalesced.Value()
	}
	return n
}

func (c *connTally) stats() ConnectionStats {
	s := ConnectionStats{Ended: c.ended.Values(), Resets: c.resets.Values()}
	ended := c.ended.Sum() // before opened, so that the difference is not negative
	s.Opened = c.opened.Value()
	s.Open = int(s.Opened - ended)
	var latency metric.Buckets
	for i := range c.shares {
		by := &c.shares[i]
		s.Delivered += by.events.Value()
		s.Bytes += by.bytes.Value()
		s.Writing += int(by.writing.Value())
		by.latency.AddTo(&latency)
	}
	s.Latency = histogram(latency)
	return s
}

// Errors that end connections, of which the server tells nobody.
var (
	errSlow   = errors.New("realtime: the client does not take what is sent")
	errNoPong = errors.New("realtime: the client does not answer a ping")
)

// endingOf names why a connection ended.
func endingOf(err error) string {
	var end *conns.Ending
	var told *wsconn.CloseError
	switch {
	case errors.As(err, &end):
		return end.Reason
	case errors.As(err, &told) && told.Peer:
		return "client"
	case errors.As(err, &told) && told.Code == 1011, errors.Is(err, guard.ErrPanic):
		return "internal"
	case errors.As(err, &told):
		return "violation"
	case errors.Is(err, errNoPong):
		return "dead"
	case errors.Is(err, errSlow), errors.Is(err, os.ErrDeadlineExceeded):
		return "slow"
	}
	return "client"
}
