package socket

import (
	"slices"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/presence"
)

// Of two decisions about a membership, the one that was asked for later counts; what is no
// membership becomes none.
func TestDecisionsAboutMemberships(t *testing.T) {
	key, other := presence.Key{Channel: "room", User: "ada", ID: "1"}, presence.Key{Channel: "hall"}
	for _, c := range []struct {
		allowed []uint64 // turns at which it was confirmed, after 5
		refused uint64
		taken   bool
	}{{nil, 4, false}, {nil, 5, true}, {nil, 6, true}, {[]uint64{7}, 6, false}, {[]uint64{7}, 7, true}, {[]uint64{3}, 4, false}, {[]uint64{7, 6}, 6, false}} {
		var ms memberships
		ms.set(membership{presence.Session{Key: key}, 5})
		for _, turn := range c.allowed {
			ms.confirm(key, turn)
		}
		ms.confirm(other, 9)
		if taken := ms.take(key, c.refused); taken != c.taken || ms.take(other, 9) {
			t.Errorf("%+v: taken: %v", c, taken)
		}
		want := 1
		if c.taken {
			want = 0
		}
		if n := len(ms.list()); n != want {
			t.Errorf("%+v: %d are left", c, n)
		}
	}
}

// A socket lists each of its channels once, in order.
func TestJoined(t *testing.T) {
	s := idle(t, newDriver(t, nil))
	var want []string
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		want = append(want, name)
		for _, user := range []string{"ada", "bob"} {
			s.sessions.set(membership{presence.Session{Key: presence.Key{Channel: name, User: user}}, 1})
		}
	}
	if got := s.Joined(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
