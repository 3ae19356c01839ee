// Package roster reads the members of channels for clients, at places in the log.
package roster

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/session"
)

// Node is what the reading of rosters uses.
type Node struct {
	Presence *presence.Presence
	Log      backend.Log
	Ring     *ring.Ring
	Uniform  bool            // all clients are shown the same members
	Time     time.Duration   // of one reading
	Running  context.Context // ends when the node ends
	Go       func(func())    // runs a function in a goroutine for which the node waits
}

// Rosters reads members for clients. For a large channel that is much work, and any
// subscriber may ask for it often. So all who ask while a reading is in progress share
// the next one, and the readings of a channel take at most a fifth of the time. Its
// method may be called concurrently.
type Rosters struct {
	node Node

	mu   sync.Mutex
	next map[string]*reading // by channel, while one is read; nil: no client waits for another

	// The last roster of each channel, as long as it is being sent to a client.
	last  map[string]weak.Pointer[session.Roster]
	purge int // when last has so many entries, those that are gone are dropped
}

// New returns the rosters of a node.
func New(node Node) *Rosters {
	return &Rosters{node: node, next: make(map[string]*reading), last: make(map[string]weak.Pointer[session.Roster])}
}

// reading is one reading of a roster. All who asked before it began share it.
type reading struct {
	done   chan struct{}
	roster *session.Roster
	err    error
}

// restFactor is the pause before the next reading, in multiples of the time of the last.
const restFactor = 4

// Read returns the members of a channel at some time after the call. It may block as
// long as ctx. Errors: those of presence and of the log, and that of ctx.
func (rs *Rosters) Read(ctx context.Context, channel string) (*session.Roster, error) {
	rs.mu.Lock()
	r, busy := rs.next[channel]
	if r == nil {
		r = &reading{done: make(chan struct{})}
		rs.next[channel] = r
	}
	rs.mu.Unlock()
	if !busy {
		rs.node.Go(func() { rs.readAll(channel) })
	}
	select {
	case <-r.done:
		return r.roster, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readAll reads the roster of a channel as long as clients ask for it.
func (rs *Rosters) readAll(channel string) {
	for r := rs.begin(channel); r != nil; r = rs.begin(channel) {
		began := time.Now()
		rs.read(r, channel)
		if r.err != nil { // another reading for those who have asked by now would fail in the same way
			rs.fail(channel, r.err)
		}
		close(r.done)
		select {
		case <-time.After(min(restFactor*time.Since(began), time.Second)):
		case <-rs.node.Running.Done():
		}
	}
}

// begin returns the reading that is due. Clients that ask from now on wait for another.
func (rs *Rosters) begin(channel string) *reading {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.next[channel]
	if r == nil {
		delete(rs.next, channel)
	} else {
		rs.next[channel] = nil
	}
	return r
}

// fail fails the next reading, for those who wait for it.
func (rs *Rosters) fail(channel string, err error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.next[channel]; r != nil {
		rs.next[channel] = nil
		r.err = err
		close(r.done)
	}
}

func (rs *Rosters) read(r *reading, channel string) {
	ctx, cancel := context.WithTimeout(rs.node.Running, rs.node.Time)
	defer cancel()
	members, at, err := rs.snapshot(ctx, channel)
	if err != nil {
		r.err = err
		return
	}
	r.roster = session.NewRoster(channel, at, members, rs.node.Uniform)
	rs.share(r.roster, channel)
}

// share makes a roster the last of its channel. It reuses members and parts that are
// the same in the roster before, since slow clients may hold any number of rosters.
func (rs *Rosters) share(r *session.Roster, channel string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if earlier := rs.last[channel].Value(); earlier != nil {
		r.Share(earlier)
	}
	if len(rs.last) >= rs.purge {
		maps.DeleteFunc(rs.last, func(_ string, last weak.Pointer[session.Roster]) bool { return last.Value() == nil })
		rs.purge = 2*len(rs.last) + 64
	}
	rs.last[channel] = weak.Make(r)
}

// snapshot returns the members of a channel at a place in the log that the ring has
// reached. The backend returns them as of some moment during its call. For members that
// join, leave or change meanwhile, the log decides. If the ring has evicted those
// events, the backend is asked again.
func (rs *Rosters) snapshot(ctx context.Context, channel string) ([]presence.Member, backend.Position, error) {
	reader := rs.node.Ring.NewReader()
	defer reader.Close()
	reader.Subscribe(nil, ring.Channel(channel))
	for {
		members, err := rs.node.Presence.Members(ctx, channel)
		var page backend.Page
		if err == nil {
			page, err = rs.node.Log.Read(ctx, rs.node.Ring.Head(), 0)
		}
		if err == nil {
			err = rs.node.Ring.Wait(ctx, page.Head)
		}
		if err != nil {
			return nil, backend.Position{}, err
		}
		if last, at, complete := lastOfEach(reader, page.Head); complete {
			return change(members, last), at, nil
		}
	}
}

// lastOfEach reads at least up to pos, which the ring has, and returns the last event of
// each user.
func lastOfEach(reader *ring.Reader, pos backend.Position) (last map[string]*backend.Event, at backend.Position, complete bool) {
	last, complete = make(map[string]*backend.Event), true
	for at.Compare(pos) < 0 {
		var items []ring.Item
		items, at, _ = reader.Next(nil, ring.Batch)
		for _, it := range items {
			switch {
			case it.Entry == nil:
				complete = false
			case it.Entry.Event.IsPresence():
				last[it.Entry.Event.User] = &it.Entry.Event
			}
		}
	}
	return last, at, complete
}

// change applies the last event of each of some users to members.
func change(members []presence.Member, last map[string]*backend.Event) []presence.Member {
	if len(last) == 0 {
		return members
	}
	members = slices.DeleteFunc(members, func(m presence.Member) bool { return last[m.User] != nil })
	for _, ev := range last {
		if !ev.IsLeave() {
			members = append(members, presence.MemberOf(ev))
		}
	}
	slices.SortFunc(members, func(a, b presence.Member) int { return strings.Compare(a.User, b.User) })
	return members
}
