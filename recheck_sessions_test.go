package realtime_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// leaves counts the sessions that were ended.
type leaves struct {
	backend.Backend
	n atomic.Int32
}

func (b *leaves) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	if k.Kind == "member" {
		b.n.Add(1)
	}
	return b.Backend.Delete(ctx, k, rev, e)
}

// A session that a Recheck has taken away is gone: the next one does not take it
// again, nor does the end of the connection.
func TestRecheckTakesASessionOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		may, b := &rights{}, &leaves{Backend: realtime.NewMemory()}
		h := start(t, may.policy(), &realtime.Options{Backend: b})
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(`"op":"join","channel":"room"`, `"op":"join","channel":"lobby"`)
		may.take("room", errNotAllowed)
		h.recheck("ada")
		if o := s.next(); o.Event != "left" || o.Channel != "room" || o.UserID != "ada" || o.Code != "forbidden" {
			t.Errorf("%s", o.raw)
		}
		for range 3 {
			h.recheck("ada")
		}
		s.nothing()
		if n := b.n.Load(); n != 1 {
			t.Errorf("the session was ended %d times", n)
		}
		if o := s.call(`"op":"update","channel":"room","metadata":1`); o.Code != "not_joined" {
			t.Errorf("%s", o.raw)
		}
		s.leave()
		time.Sleep(time.Minute)      // the grace is over
		if n := b.n.Load(); n != 2 { // with that of the lobby
			t.Errorf("%d sessions were ended, want one more", n)
		}
	})
}
