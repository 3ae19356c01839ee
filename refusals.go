package realtime

import (
	"cmp"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Refusal is something that a client was refused, on this node.
type Refusal struct {
	Time    time.Time // the last time
	Count   int       // how often it was, with all else the same
	Code    string    // that the client was told: see docs/protocol.md
	User    string    // "" for anonymous, or if it is not known
	Address string    // http.Request.RemoteAddr; "" if it is not known
	Action  Action    // zero if it was not about one; at most 512 bytes of its Name
	// Reason is the text of the policy's error, which the client is not told, or else
	// the message that it was told; at most 512 bytes.
	Reason string
}

// maxRefusals bounds the refusals that are remembered.
const maxRefusals = 200

// refusals are the newest refusals of a node.
type refusals struct {
	mu  sync.Mutex
	all []Refusal // the newest last
}

// Refusals returns the newest refusals of this node, at most 200, the newest first. What
// is refused again and again counts as one.
func (rt *Realtime) Refusals() []Refusal {
	rs := &rt.refusals
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := slices.Clone(rs.all)
	slices.Reverse(list)
	return list
}

// add remembers a refusal.
func (rs *refusals) add(f *refusal) {
	r := f.about
	r.Code, r.Reason, r.Action.Name = f.Code, wire.Clip(cmp.Or(r.Reason, f.Message)), wire.Clip(r.Action.Name)
	rs.note(r)
}

func (rs *refusals) note(r Refusal) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	same := func(have Refusal) bool {
		have.Time, have.Count = time.Time{}, 0
		return have == r
	}
	count := 1
	if i := slices.IndexFunc(rs.all, same); i >= 0 {
		count += rs.all[i].Count
		rs.all = slices.Delete(rs.all, i, i+1)
	} else if len(rs.all) == maxRefusals {
		rs.all = slices.Delete(rs.all, 0, 1)
	}
	r.Time, r.Count = time.Now(), count
	rs.all = append(rs.all, r)
}

// of notes whom a refusal is for, and what it is about.
func (f *refusal) of(user string, a Action) *refusal {
	f.about.User, f.about.Action = user, a
	return f
}

// from notes where the refused request comes from. f may be nil.
func (f *refusal) from(r *http.Request) *refusal { return f.fromAddress(r.RemoteAddr) }

// fromAddress is from, of a request that is over. f may be nil.
func (f *refusal) fromAddress(address string) *refusal {
	if f != nil {
		f.about.Address = address
	}
	return f
}
