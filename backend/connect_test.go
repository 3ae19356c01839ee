package backend_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// Connect returns what connect does, or when its context ends; a client that comes after
// that is closed.
func TestConnect(t *testing.T) {
	failed := errors.New("refused")
	for _, c := range []struct {
		name    string
		patient time.Duration // before the context ends
		takes   time.Duration
		err     error // of connect
		want    error
		called  bool
		closed  bool
	}{
		{"in time", time.Minute, time.Second, nil, nil, true, false},
		{"refused in time", time.Minute, time.Second, failed, failed, true, false},
		{"late", time.Second, time.Minute, nil, context.DeadlineExceeded, true, true},
		{"refused late", time.Second, time.Minute, failed, context.DeadlineExceeded, true, false},
		{"ended before", 0, time.Second, nil, context.DeadlineExceeded, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.patient)
				defer cancel()
				called, closed := false, ""
				began := time.Now()
				client, err := backend.Connect(ctx, func() (string, error) {
					called = true
					time.Sleep(c.takes)
					return "client", c.err
				}, func(client string) { closed = client })
				if took, atMost := time.Since(began), min(c.takes, c.patient); took > atMost {
					t.Errorf("it took %v", took)
				}
				if !errors.Is(err, c.want) || err == nil && client != "client" {
					t.Errorf("Connect returned %q, %v", client, err)
				}
				time.Sleep(time.Hour)
				cancel()
				synctest.Wait()
				if called != c.called || (closed == "client") != c.closed {
					t.Errorf("called: %v, closed: %q", called, closed)
				}
			})
		})
	}
}
