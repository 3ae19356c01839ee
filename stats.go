package realtime

import (
	"time"

	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/metric"
	"github.com/maravilla-realtime/realtime/internal/rights/policycall"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
)

// Stats is a snapshot of what a node has, and of what it has done since [New]. Numbers of
// type uint64 only grow, others go up and down. Maps have a key for each name of a closed
// list, also while its number is zero, so that what is exported does not grow with what
// clients send. The figures are read one after another: two of them may be some
// microseconds apart.
type Stats struct {
	Started time.Time // when New was called

	REN       ConnectionStats // REN streams
	WebSocket ConnectionStats

	Users         int // who have connections to this node; anonymous clients are not counted
	Channels      int // with a subscription on this node, of a client or of [Realtime.Events]
	Subscriptions int // to channels

	// Operations counts what clients sent over WebSockets, by op of docs/protocol.md;
	// what is none of them, or no JSON, as "other".
	Operations map[string]uint64
	// Refusals counts what clients were refused, by code of docs/protocol.md: requests,
	// also by [Realtime.Authorize], and operations on WebSockets.
	Refusals map[string]uint64

	// Coalesced counts events that REN streams with an interval (the parameter "every")
	// have left out for a newer one of the same key.
	Coalesced uint64

	Publish   PublishStats
	Ephemeral EphemeralStats
	History   HistoryStats
	Follow    FollowStats
	Presence  PresenceStats
	Streams   StreamStats
	Groups    map[string]GroupStats // by name; "$process" for handlers registered on the Realtime
	Backend   BackendStats
	Policy    PolicyStats
}

// ConnectionStats are those of connections of one kind.
type ConnectionStats struct {
	Open    int
	Writing int // of Open, those that wait for the client, or its network, to take what is sent
	Opened  uint64
	// Ended counts connections by why they ended. By the client: "client" (it went, or
	// its network did), "slow" (it did not take what was sent). By the server: "closing",
	// "rotate", "expired", "revoked", "refused" (its rights, or its credentials in a
	// hello), "unavailable" (the policy or the backend does not answer), "internal". Of
	// WebSockets also "dead" (it did not answer a ping), "violation" (it broke the protocol,
	// or a limit of it), "hello_required".
	Ended map[string]uint64

	Delivered uint64 // events that were written to clients, replayed and ephemeral ones included
	Bytes     uint64 // that were written, without framing by WebSocket or HTTP
	// Latency is the time from when an event came to this node until it was written to a
	// client: for each write, that of its oldest event that is not replayed.
	Latency Histogram
	// Resets counts what clients were told that they missed, by the reason of
	// [ResetError].
	Resets map[string]uint64
}

// PublishStats are those of events that this node appends to the log: by the host, by
// handlers, and by clients. Presence has its own.
type PublishStats struct {
	// Outcomes counts them: "ok", "maybe_stored" ([ErrMaybeStored]), "timeout"
	// ([ErrTemporary], or a context that ended), "canceled", "too_large", "closed",
	// "error".
	Outcomes map[string]uint64
	Time     Histogram // from the call to the answer of the backend
}

// EphemeralStats are those of messages that are live only: see [Ephemeral].
type EphemeralStats struct {
	// Outcomes counts publishes on this node: "ok", "full" (too many wait), "too_large",
	// "closed".
	Outcomes map[string]uint64
	Waiting  int // to be sent
	// Coalesced counts messages that were never sent: a newer one of the same user and
	// type came while they waited, or too many others of the channel.
	Coalesced uint64
	Lost      uint64 // that the backend did not take in 5 s
	Received  uint64 // from all nodes, of channels that are followed on this one
}

// HistoryStats are those of the events that a node keeps. See [History].
type HistoryStats struct {
	Events int
	Bytes  int64
	Age    time.Duration // of the oldest event
	Added  uint64        // records of the log, those of other nodes and without a view included
	// Evicted counts events by the bound that they exceeded: "age", "events", "bytes".
	Evicted map[string]uint64
	// Resets counts losses of the log's tail ("epoch"), and of a part of it ("backend").
	// All clients are told.
	Resets map[string]uint64
}

// FollowStats say how a node keeps up with the log.
type FollowStats struct {
	// Unread is how many records this node has appended to the log and not yet read from
	// it.
	Unread uint64
	// Lag is the time from when an event was published, by any node, until it came to
	// this one: of several that come at once, that of the first. It compares the clocks
	// of both nodes, to the millisecond.
	Lag Histogram
	// Failures counts how often following the log failed, or had to read back records.
	Failures uint64
}

// PresenceStats are those of members who are present through this node.
type PresenceStats struct {
	Members  int
	Sessions int // of them, those that are about to leave included

	Joins, Updates, Leaves uint64 // events that this node caused

	Repeated  uint64 // writes that met one of another node, or whose outcome was unknown
	Sweeps    uint64 // for sessions whose time is over
	Swept     uint64 // sessions that sweeps have ended
	NodesGone uint64 // other nodes that this one has given up, since they were silent
	Failures  uint64 // of what runs in the background; it is tried again
}

// StreamStats are those of growing messages: see [Realtime.Stream].
type StreamStats struct {
	Open      int   // that this node writes
	Copies    int   // that other nodes write, and clients of this node follow
	Followers int   // clients that follow them; a client counts for each message
	Bytes     int64 // of their contents

	Opened  uint64
	Ended   map[string]uint64 // those that this node wrote, by state: "complete", "failed", "cancelled"
	Appends uint64            // calls of Write and WriteJSON
	Written uint64            // bytes
}

// GroupStats are those of a group of handlers on one node.
type GroupStats struct {
	Held    bool          // this node handles the events of the group
	Pending int           // events that a handler has, or that wait for one
	Lag     uint64        // records of the log that are not handled yet; 0 on nodes that do not hold the group
	LagTime time.Duration // since the oldest of them came to this node

	Calls       Histogram         // of handlers, by how long they took
	Retries     uint64            // calls that failed and were, or will be, repeated
	DeadLetters uint64            // see [GroupOptions]
	Missed      map[string]uint64 // how often events were lost before they were handled, by the reason of [ResetError]
}

// BackendStats are those of calls of the [Options].Backend.
type BackendStats struct {
	// Methods has "append", "read", "follow", "get", "list", "put" and "delete".
	// Outcomes: those of [PublishStats], "conflict" (another write came first), and of
	// follow, which lasts until it fails, "lost" (records are gone). Each method has those
	// that it can have.
	Methods   map[string]CallStats
	Abandoned int // calls that have not returned although their time is over
}

// PolicyStats are those of calls of the [Policy]. See [AllowAll], which is not counted.
type PolicyStats struct {
	// Functions has "authenticate", "allow" and "grants". Outcomes: "ok", "refused",
	// "timeout" ([ErrTemporary], or no answer in time).
	Functions map[string]CallStats
	Abandoned int // calls that have not returned although their time is over
}

// CallStats are those of calls of one function.
type CallStats struct {
	Outcomes map[string]uint64
	Time     Histogram // of all calls
}

// Histogram counts durations in buckets, whose bounds are the same in all of them.
type Histogram struct {
	// Counts has the number of durations in each bucket: Counts[i] of those that are at
	// most HistogramBounds()[i], and longer than the bound before it. The last has those
	// that are longer than all bounds.
	Counts []uint64
	Sum    time.Duration
}

// HistogramBounds returns the upper bounds of the buckets of a [Histogram], of which
// there is one more.
func HistogramBounds() []time.Duration { return metric.Bounds() }

// Count returns the number of durations.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

func histogram(b metric.Buckets) Histogram { return Histogram{Counts: b.Counts[:], Sum: b.Sum} }

func connectionStats(s driver.Stats) ConnectionStats {
	return ConnectionStats{
		Open: s.Open, Writing: s.Writing, Opened: s.Opened, Ended: s.Ended,
		Delivered: s.Delivered, Bytes: s.Bytes, Latency: histogram(s.Latency), Resets: s.Resets,
	}
}

func callStats(c metric.CallStats) CallStats { return CallStats{c.Outcomes, histogram(c.Time)} }

func backendStats(e bounded.Stats) BackendStats {
	s := BackendStats{Methods: make(map[string]CallStats), Abandoned: e.Abandoned}
	for name, c := range e.Methods {
		s.Methods[name] = callStats(c)
	}
	return s
}

func policyStats(calls *policycall.Calls) PolicyStats {
	s := PolicyStats{Functions: make(map[string]CallStats), Abandoned: calls.Left()}
	for name, c := range calls.Stats() {
		s.Functions[name] = callStats(c)
	}
	return s
}

// Stats returns the present figures of this node. It does not block, and takes about a
// microsecond for each 100 connections and each group.
func (rt *Realtime) Stats() Stats {
	history, published, ren := rt.ring.Stats(), rt.publisher.Stats(), rt.ren.Stats()
	s := Stats{
		Started: rt.started,
		REN:     connectionStats(ren), WebSocket: connectionStats(rt.sockets.Stats()),
		Users: rt.conns.Users(), Channels: history.Channels, Subscriptions: history.Subscriptions,
		Operations: rt.sockets.Operations(), Refusals: rt.refusals.Counts(),
		Coalesced: ren.Coalesced,
		Publish:   PublishStats(callStats(published.Calls)),
		Ephemeral: rt.ephemeralStats(published.Ephemeral, history.Live),
		History:   historyStats(history),
		Follow:    rt.followStats(published.Unread),
		Presence:  PresenceStats(rt.presence.inner.Stats()),
		Streams:   StreamStats(rt.growing.Stats()),
		Groups:    make(map[string]GroupStats),
		Backend:   backendStats(rt.backend.Stats()),
		Policy:    policyStats(rt.deciding),
	}
	for name, g := range rt.groups.Stats() {
		s.Groups[name] = GroupStats{
			Held: g.Held, Pending: g.Pending, Lag: g.Lag, LagTime: g.LagTime,
			Calls: histogram(g.Calls), Retries: g.Retries, DeadLetters: g.DeadLetters, Missed: g.Missed,
		}
	}
	return s
}

func historyStats(s ring.Stats) HistoryStats {
	h := HistoryStats{
		Events: s.Entries, Bytes: s.Bytes, Added: s.Added,
		Evicted: map[string]uint64{"age": s.EvictedAge, "events": s.EvictedCount, "bytes": s.EvictedBytes},
		Resets:  map[string]uint64{string(ring.Epoch): s.ResetEpoch, string(ring.Lost): s.ResetLost},
	}
	if !s.Oldest.IsZero() {
		h.Age = max(time.Since(s.Oldest), 0)
	}
	return h
}

func (rt *Realtime) ephemeralStats(outcomes map[string]uint64, received uint64) EphemeralStats {
	s := rt.live.Stats()
	return EphemeralStats{Outcomes: outcomes, Waiting: s.Waiting, Coalesced: s.Coalesced, Lost: s.Lost, Received: received}
}

func (rt *Realtime) followStats(unread uint64) FollowStats {
	f := rt.follower.Stats()
	return FollowStats{Unread: unread, Lag: histogram(f.Lag), Failures: f.Failures}
}
