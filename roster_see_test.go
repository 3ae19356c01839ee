package realtime_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A large roster of which the policy shows half: it comes complete, in parts
// between which other channels have their turn, and See is asked once about each
// member.
func TestLargeRosterWithSee(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		var asked atomic.Int64
		p := open()
		p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool {
			if ev.Type != "presence.join" {
				return true
			}
			asked.Add(1)
			return strings.ContainsRune("02468", rune(ev.User[len(ev.User)-1]))
		}
		h := start(t, p, nil)
		h.seat("room", n, 100)
		s := h.dripping(time.Millisecond, get("/realtime"))
		s.ok(subscribe("lobby"))
		asked.Store(0)
		s.ask(subscribe("room") + withPresence)
		for i := range 20 {
			h.publish("lobby", i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		members, last, parts, run, most := 0, "", 0, 0, 0
		for _, o := range s.rest() {
			switch o.Event {
			case "presence.state":
				parts++
				run++
				for _, m := range o.Members {
					if members++; m.UserID <= last {
						t.Fatalf("%s comes after %s", m.UserID, last)
					}
					last = m.UserID
				}
			case "message":
				most, run = max(most, run), 0
			}
		}
		if members != n/2 || parts < 5 || most > 3 {
			t.Errorf("%d of %d members in %d parts, %d of them without an event of the other channel", members, n/2, parts, most)
		}
		if got := asked.Load(); got != n {
			t.Errorf("See was asked %d times about %d members", got, n)
		}
	})
}
