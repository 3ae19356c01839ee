package realtime

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// rosters reads members for clients. For a large channel that is work, which any
// subscriber may ask for as often as it likes. So whoever asks while a reading
// is under way shares the next one with all who do, and the readings of a channel
// take a fifth of the time at most.
type rosters struct {
	mu   sync.Mutex
	next map[string]*reading // by channel, while one is read; nil: nobody waits for another
}

// reading is one reading of a roster. All who asked before it began share it, and
// do not change it.
type reading struct {
	done    chan struct{}
	members []Member
	encoded json.RawMessage // where everybody sees the same
	err     error
}

// restFactor is how many times as long as a reading took the next one waits.
const restFactor = 4

// roster returns the members of a channel, as they are at some time after the
// call.
func (p *presence) roster(ctx context.Context, channel string) (*reading, error) {
	rs := &p.rosters
	rs.mu.Lock()
	if rs.next == nil {
		rs.next = make(map[string]*reading)
	}
	r, busy := rs.next[channel]
	if r == nil {
		r = &reading{done: make(chan struct{})}
		rs.next[channel] = r
	}
	rs.mu.Unlock()
	if !busy {
		// Connections ask, which Close waits for before it waits for the background.
		p.rt.background.Go(func() { p.readRosters(channel) })
	}
	select {
	case <-r.done:
		return r, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readRosters reads the roster of a channel as long as somebody asks.
func (p *presence) readRosters(channel string) {
	for r := p.rosters.begin(channel); r != nil; r = p.rosters.begin(channel) {
		began := time.Now()
		p.read(r, channel)
		close(r.done)
		select {
		case <-time.After(min(restFactor*time.Since(began), time.Second)):
		case <-p.rt.running.Done():
		}
	}
}

// begin returns the reading that is due: who asks from now on waits for another.
func (rs *rosters) begin(channel string) *reading {
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

func (p *presence) read(r *reading, channel string) {
	ctx, cancel := context.WithTimeout(context.Background(), decideTime)
	defer cancel()
	if r.members, r.err = p.Members(ctx, channel); r.err == nil && p.rt.policy.See == nil {
		r.encoded, r.err = json.Marshal(r.members)
	}
}
