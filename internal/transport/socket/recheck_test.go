package socket

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
)

// A check waits while an operation is decided, and not for a connection that ends: it leaves
// deciding to those who wait for it.
func TestSettled(t *testing.T) {
	for name, c := range map[string]struct {
		hasty, later, settled bool
		end                   func(*socket)
		takes                 time.Duration
	}{
		"the operation is done":     {end: func(s *socket) { s.deciding.Give() }, settled: true},
		"it is done late":           {end: func(s *socket) { time.Sleep(time.Minute); s.deciding.Give() }, takes: time.Minute, settled: true},
		"the connection is removed": {end: (*socket).remove},
		"in haste":                  {end: func(*socket) {}, hasty: true, later: true, takes: conns.KickTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := idle(t, newDriver(t, nil))
				stop := written(s)
				defer stop()
				s.decides()
				began := time.Now()
				go c.end(s)
				done, ok := s.settled(nil, c.hasty)
				if took := time.Since(began); took != c.takes || s.again.Load() != c.later {
					t.Errorf("it took %v; all is to be checked later: %v", took, s.again.Load())
				}
				if ok != c.settled {
					t.Errorf("settled: %v", ok)
				}
				if ok {
					done()
				} else {
					s.deciding.Give() // by the operation
				}
				if !s.deciding.Try(1) {
					t.Error("somebody holds deciding")
				}
			})
		})
	}
}

// Who is in haste checks at once where deciding was just given back, and has nobody check
// again.
func TestSettledJustNow(t *testing.T) {
	s := idle(t, newDriver(t, nil))
	if !s.settledLater() || s.again.Load() || s.deciding.Try(1) {
		t.Error("it is not decided at once")
	}
	if s.settledLater() || !s.again.Load() {
		t.Error("it is decided during an operation")
	}
}

// Operations are decided one after the other.
func TestDecidesWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := idle(t, newDriver(t, nil))
		s.decides()
		decided := false
		go func() { s.decides(); decided = true }()
		if synctest.Wait(); decided {
			t.Error("two operations are decided")
		}
		s.release()
		if synctest.Wait(); !decided {
			t.Error("the second is not decided")
		}
	})
}
