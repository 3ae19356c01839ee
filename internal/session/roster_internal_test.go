package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/wire"
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
		before := said(second)
		second.Share(first)
		if said(second) != before {
			t.Fatal("it says something else since it shares")
		}
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

// said is what the parts of a roster say.
func said(r *Roster) string {
	var all []string
	for i, p := range r.parts {
		all = append(all, fmt.Sprintf("%s, of a frame: %v, the last: %v", p.members, p.frame != nil, i+1 == len(r.parts)))
	}
	return strings.Join(all, "\n")
}

// Of many small members the first part is full, and the others at least to one half; only
// the last one has no frame. Share leaves that as it is, where a roster ends sooner than the
// one before it.
func TestPartsOfARoster(t *testing.T) {
	defer func(seed maphash.Seed) { partSeed = seed }(partSeed)
	for range 8 {
		partSeed = maphash.MakeSeed()
		members := someMembers(3000, 100)
		r := NewRoster("room", backend.Position{}, members, true)
		inFirst := bytes.Count(r.parts[0].members, []byte(`"userId"`))
		shorter := NewRoster("room", backend.Position{}, members[:inFirst], true)
		shorter.Share(r)
		r.Share(shorter)
		for i, p := range r.parts {
			last, most := i+1 == len(r.parts), wire.MaxPart/2
			if i == 0 {
				most = wire.MaxPart - 200
			}
			if (p.frame == nil) != last || !last && len(p.members) < most || len(p.members) > wire.MaxPart {
				t.Errorf("part %d of %d: %d bytes, with a frame: %v", i, len(r.parts), len(p.members), p.frame != nil)
			}
		}
		if len(shorter.parts) != 1 || shorter.parts[0].frame != nil {
			t.Errorf("%d parts of which the last has a frame", len(shorter.parts))
		}
	}
}

// A part has at most so many bytes, or one member.
func TestBytesOfAPart(t *testing.T) {
	one := len(wire.AppendMember(nil, "user00000", someMembers(1, 2)[0].Metadata, 0)) - 2
	for _, c := range []struct {
		sizes []int // of members
		parts int
	}{
		{nil, 0}, {[]int{wire.MaxPart + 1}, 1}, {[]int{wire.MaxPart, 100}, 2}, {[]int{100, wire.MaxPart + 1, 100}, 3},
		{[]int{100, wire.MaxPart - 101}, 1}, {[]int{100, wire.MaxPart - 100}, 2},
	} {
		var members []presence.Member
		for _, size := range c.sizes {
			members = append(members, someMembers(1, size-one)...)
		}
		if r := NewRoster("room", backend.Position{}, members, true); len(r.parts) != c.parts {
			t.Errorf("%d parts of members of %d bytes, want %d", len(r.parts), c.sizes, c.parts)
		}
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
