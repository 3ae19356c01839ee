package driver

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/transport/shard"
)

// Connections that begin within a short time get their pings together, never later than
// promised, and not much earlier.
func TestFirstPing(t *testing.T) {
	for _, every := range []time.Duration{1, 100, time.Millisecond, time.Second, 25 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			n := &Node{Heartbeat: every, Shards: shard.New(1, nil, nil)}
			early := min(mostTogether, every/partsOfPings)
			times := make(map[time.Time]bool)
			const conns = 200
			for range conns {
				time.Sleep(time.Millisecond)
				now := time.Now()
				at := n.FirstPing(now)
				if late := at.Sub(now.Add(every)); late > 0 || late < -early {
					t.Fatalf("of every %v: %v late", every, late)
				}
				times[at] = true
			}
			if most := int(conns*time.Millisecond/mostTogether) + 1; every == 25*time.Second && len(times) > most {
				t.Errorf("%d pings are sent at %d times", conns, len(times))
			}
		})
	}
}
