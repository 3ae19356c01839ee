// Package backend is the contract between the library and the engine behind it.
//
// It holds types and small interfaces only. A driver (in memory, NATS
// JetStream, Redis) implements [Backend]; package realtime turns whatever a
// driver stores into streams, rosters and handlers. Drivers stay dumb: fan-out,
// resume, filters and rights are never their business. Package backendtest
// proves a driver against the rules stated on the methods below.
package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Backend is everything one engine provides.
//
// All methods may be called concurrently. After Close they return [ErrClosed].
type Backend interface {
	Log
	Presence
	Groups

	// Close releases the engine. Running calls of Follow return [ErrClosed].
	Close(ctx context.Context) error
}

// Log is an ordered, append-only log of events, shared by all nodes.
type Log interface {
	// Append stores e behind everything stored before it and returns the
	// position it got. It may block while the engine is busy, never longer than
	// ctx allows.
	//
	// An entry with an ID stored within the last two minutes is not stored
	// again: Append returns the position of the first one and no error.
	//
	// A driver may bound how many ids it remembers, and documents it.
	//
	// An error that matches [ErrUnknown] means that the entry is perhaps stored;
	// the caller may append it again with the same ID. Any other error means
	// that it is not. Nobody changes e.Event.Data after the call.
	Append(ctx context.Context, e Entry) (Position, error)

	// Follow hands every record behind after to sink: all of them, in log order,
	// without gaps, those already stored first. It calls sink serially, with one
	// record or more, and returns only when ctx ends (then with its error), the
	// log is closed, or the promise can no longer be kept: then with a
	// [*LostError], whose Next is the position to follow from. A position from
	// the future, of another epoch, or before what was evicted is one of those.
	//
	// Records and the slice are shared: neither side changes them after the call.
	// sink does not block for long and does not append; a driver that has no room
	// left to wait for it reports [*LostError] or makes Append wait, but never
	// skips a record.
	Follow(ctx context.Context, after Position, sink func([]*Record)) error

	// Read returns the newest records behind after, at most limit of them, so
	// that a node can fill its history before it follows. It never waits for
	// records to come, and does not tell what was evicted: the first record's
	// position does.
	Read(ctx context.Context, after Position, limit int) (Page, error)
}

// Presence keeps who is where: members (users) of channels, and beneath each
// member the sessions (tabs, devices, servers) that keep it there. A change of
// state and the event it calls for are one step: a driver appends
// [JoinEvent], [UpdateEvent] or [LeaveEvent] to its log such that, per member,
// joins and leaves alternate strictly in log order.
//
// The [Entry] of such an event has the Depth of what caused it, a [Session] or a
// [Departure]; that of a session whose time is over has none.
//
// Where Join, Leave or Touch fails, the change is perhaps made; calling it again
// is safe.
type Presence interface {
	// Join adds the session, or renews it if it is there: it has s.TTL to live
	// from now (0: as long as its node's lease), and a Leave that was scheduled
	// for it is off. The member's LastSeen becomes now and its Metadata
	// s.Metadata.
	//
	// It appends presence.join if the member had no session, else
	// presence.update if the metadata changed, else nothing.
	Join(ctx context.Context, s Session) error

	// Leave ends the session once d.In has passed (0: at once), unless it is
	// joined again before. The member's last session to end takes the member with
	// it and appends presence.leave with d.Why. An unknown session is no error; a
	// scheduled end is never postponed by a later Leave.
	Leave(ctx context.Context, key SessionKey, d Departure) error

	// Touch moves the LastSeen of a member to now; a driver may do so once in 30 s
	// only. Of one who is not there it does nothing.
	Touch(ctx context.Context, channel, user string) error

	// Members lists the members of a channel, ordered by user. The caller does not
	// change their Metadata. Each is what it was at some time during the call: what
	// the log had of it before counts, and nothing that the log has not got when the
	// call returns. They need not all be of the same time.
	Members(ctx context.Context, channel string) ([]Member, error)

	// PresentChannels lists the channels that have members, ordered.
	PresentChannels(ctx context.Context) ([]string, error)

	// Sweep renews the lease of node for ttl and ends every session, of any
	// node, whose time is over: with the reason of its scheduled leave, with
	// [ReasonTimeout] when its TTL ran out, or with [ReasonNode] when its node's
	// lease did. However many nodes sweep, each leave is appended once. It
	// returns how long to wait before the next sweep can find anything that is
	// known today, at most ttl/3. A node sweeps before it joins anybody: one that
	// never has, has no lease that could run out.
	Sweep(ctx context.Context, node string, ttl time.Duration) (next time.Duration, err error)
}

// Position is a place in a log. Seq numbers records without gaps within one
// Epoch. An engine whose log was recreated, or may have lost its tail, goes on
// in a greater Epoch. The zero Position is before everything.
type Position struct {
	Epoch, Seq uint64
}

// Compare returns -1 if p is before q, +1 if it is behind it, else 0.
func (p Position) Compare(q Position) int {
	switch {
	case p == q:
		return 0
	case p.Epoch < q.Epoch, p.Epoch == q.Epoch && p.Seq < q.Seq:
		return -1
	}
	return +1
}

// Event is one thing that happened. The fields are those of the public event
// (realtime.RenEvent), which documents them.
type Event struct {
	Type      string
	Resource  string
	Key       string
	Version   string
	UnixMilli int64
	Source    string
	Namespace string
	Channel   string
	Data      json.RawMessage
	User      string
}

// Entry is what a node asks a log to store.
type Entry struct {
	ID    string // idempotency key of at most 200 bytes; empty: every append is new
	Event Event
	Depth int // how many handlers in a row led to it; stored, never shown to clients
}

// Record is a stored entry.
type Record struct {
	Entry
	Pos Position
}

// Page is what [Log.Read] found.
type Page struct {
	Records []*Record // oldest first, without gaps
	Head    Position  // of the newest record in the log, or before the first one to come
}

// SessionKey names a session: what keeps one user in one channel.
type SessionKey struct {
	Channel, User string
	ID            string // unique per channel and user
}

// Session is one tab, device or server that keeps a user in a channel.
type Session struct {
	SessionKey
	Node     string          // where it lives; it ends with the lease of this node
	Metadata json.RawMessage // compact JSON, or nil
	Source   string          // of the events it causes
	Depth    int             // of the entries that joining causes
	TTL      time.Duration   // 0: no lease of its own
}

// Departure is how a session ends.
type Departure struct {
	Why   Reason
	In    time.Duration // from now; 0: at once
	Depth int           // of the entry it causes
}

// Member is a user in a channel.
type Member struct {
	User     string
	Metadata json.RawMessage
	LastSeen time.Time
}

// Reason says why a member left.
type Reason string

// The reasons of a leave.
const (
	ReasonLeft    Reason = "left"    // asked to
	ReasonClosed  Reason = "closed"  // its last connection closed in an orderly way
	ReasonTimeout Reason = "timeout" // its last connection broke, or its lease ran out
	ReasonNode    Reason = "node"    // the node it was connected to is gone
)

// Errors a driver reports. All may be wrapped.
var (
	// ErrClosed: the backend was closed.
	ErrClosed = errors.New("backend: closed")
	// ErrUnknown: the outcome is unknown; the entry is perhaps stored.
	ErrUnknown = errors.New("backend: outcome unknown")
	// ErrHeld: another node holds the group.
	ErrHeld = errors.New("backend: the group is held by another node")
)

// LostError says that records behind the position asked for are gone: evicted,
// or of an epoch that has ended. Follow from Next to go on.
type LostError struct {
	Next Position
}

func (e *LostError) Error() string {
	return fmt.Sprintf("backend: records lost before %d.%d", e.Next.Epoch, e.Next.Seq)
}
