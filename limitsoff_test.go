package realtime_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// Limits that are switched off stop nobody, on whichever level: of a connection or
// of a user.
func TestLimitsSwitchedOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{
			Channels: -1, Rate: -1, Burst: -1, Connections: -1, UserRate: -2, UserBurst: -1 << 40,
		}})
		for range 300 { // the default is 256
			h.ren(get("/ren", "Authorization", asAda))
		}
		s := h.socket(get("/realtime", "Authorization", asAda))
		for i := range 800 { // the defaults are 128 channels, 60 operations at once, and 600 of a user
			s.ok(subscribe(fmt.Sprint("room:", i)), `"op":"ping"`)
		}
	})
	// If only the limits of a connection are switched off, those of its user follow.
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Rate: -1, Burst: -1}})
		s := h.socket(get("/realtime", "Authorization", asAda))
		for range 2000 {
			s.ok(`"op":"ping"`)
		}
	})
}

// Without a grace, who loses the last connection leaves at once, in either way.
func TestGracesSwitchedOff(t *testing.T) {
	for name, c := range map[string]struct {
		opts realtime.PresenceOptions
		end  func(*socket)
		want time.Duration
	}{
		"closed":                  {realtime.PresenceOptions{CloseGrace: -1}, (*socket).leave, 0},
		"closed, the other grace": {realtime.PresenceOptions{DropGrace: -1}, (*socket).leave, 3 * time.Second},
		"broken":                  {realtime.PresenceOptions{DropGrace: -1}, (*socket).drop, 0},
		"broken, the other grace": {realtime.PresenceOptions{CloseGrace: -1}, (*socket).drop, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t, open(), &realtime.Options{Presence: c.opts})
				tab := h.tab("ada", "room")
				after, began := h.Cursor(), time.Now()
				c.end(tab)
				_, err := h.WaitFor(t.Context(), realtime.EventMatch{Type: "presence.leave"}, after)
				if took := time.Since(began); err != nil || took != c.want {
					t.Errorf("left after %v, %v; want %v", took, err, c.want)
				}
			})
		})
	}
}
