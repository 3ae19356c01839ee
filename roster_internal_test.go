package realtime

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func someMembers(n, size int) []Member {
	metadata := json.RawMessage(`"` + strings.Repeat("m", size-2) + `"`)
	var members []Member
	for i := range n {
		members = append(members, Member{fmt.Sprintf("user%05d", i), metadata, time.UnixMilli(int64(i))})
	}
	return members
}

// Of two readings that differ in little, most is there once: so it does not matter
// how many of them slow clients hold. Where parts end is a matter of chance, and once
// in a while one of them ends elsewhere: so this is of many rosters.
func TestReadingsShareWhatTheyHaveInCommon(t *testing.T) {
	shared, all := 0, 0
	for i := range 30 {
		var rs rosters
		members := someMembers(3000, 100)
		for j := range members {
			members[j].UserID = fmt.Sprintf("%d %s", i, members[j].UserID)
		}
		first := &reading{parts: divide("room", members, false)}
		rs.share(first, "room")
		changed := append(members[:1:1], members[2:]...) // one has gone, early
		changed[2000].Metadata = json.RawMessage(`1`)
		second := &reading{parts: divide("room", changed, false)}
		rs.share(second, "room")
		all += len(second.parts)
		for i := range min(len(first.parts), len(second.parts)) {
			if &first.parts[i].members[0] == &second.parts[i].members[0] {
				shared++
			}
		}
	}
	if shared < all*6/10 {
		t.Errorf("%d of %d parts are shared", shared, all)
	}
}

// BenchmarkRoster measures what a subscriber costs beside the reading that all
// share, and that reading. 10,000 members, some 1 MB.
func BenchmarkRoster(b *testing.B) {
	members := someMembers(10_000, 50)
	for name, see := range map[string]func(Identity, RenEvent) bool{
		"everybody": nil,
		"see all":   func(Identity, RenEvent) bool { return true },
		"see half":  func(_ Identity, ev RenEvent) bool { return ev.User[len(ev.User)-1]%2 == 0 },
	} {
		v := view{policy: &Policy{See: see}}
		r := &reading{parts: divide("room", members, see != nil)}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := walkRoster(r, &v)
				for w.take().more {
				}
			}
		})
	}
	b.Run("reading", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			divide("room", members, false)
		}
	})
}
