package session

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

func someMembers(n, size int) []presence.Member {
	metadata := json.RawMessage(`"` + strings.Repeat("m", size-2) + `"`)
	var members []presence.Member
	for i := range n {
		members = append(members, presence.Member{User: fmt.Sprintf("user%05d", i), Metadata: metadata, LastSeen: time.UnixMilli(int64(i))})
	}
	return members
}

// Of two rosters that differ in little, most is there once: so it does not matter
// how many of them slow clients hold. Where parts end depends on a random seed.
func TestRostersShareWhatTheyHaveInCommon(t *testing.T) {
	defer func(seed maphash.Seed) { partSeed = seed }(partSeed)
	shared, all := 0, 0
	for range 20 {
		partSeed = maphash.MakeSeed()
		members := someMembers(3000, 100)
		first := NewRoster("room", backend.Position{}, members, true)
		changed := append(members[:1:1], members[2:]...) // one has gone, early
		changed[2000].Metadata = json.RawMessage(`1`)
		second := NewRoster("room", backend.Position{}, changed, true)
		second.Share(first)
		n := 0
		for i := range min(len(first.parts), len(second.parts)) {
			if &first.parts[i].members[0] == &second.parts[i].members[0] {
				n++
			}
		}
		shared, all = shared+n, all+len(second.parts)
	}
	if shared < all*3/5 {
		t.Errorf("%d of %d parts are shared", shared, all)
	}
}

// seeing is a view that shows some.
type seeing struct{ see func(*backend.Event) bool }

func (v seeing) Stream(ev *backend.Event) (seen, data bool) { return v.see(ev), true }
func (v seeing) Channel(ev *backend.Event) bool             { return v.see == nil || v.see(ev) }
func (v seeing) Uniform() bool                              { return v.see == nil }

// BenchmarkRoster measures what a subscriber costs beside the reading that all
// share, and that reading. 10,000 members, some 1 MB.
func BenchmarkRoster(b *testing.B) {
	members := someMembers(10_000, 50)
	for name, see := range map[string]func(*backend.Event) bool{
		"everybody": nil,
		"see all":   func(*backend.Event) bool { return true },
		"see half":  func(ev *backend.Event) bool { return ev.User[len(ev.User)-1]%2 == 0 },
	} {
		r := NewRoster("room", backend.Position{}, members, see == nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := r.walk(seeing{see})
				for w.take().more {
				}
			}
		})
	}
	b.Run("reading", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewRoster("room", backend.Position{}, members, true)
		}
	})
}
