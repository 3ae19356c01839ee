package realtime_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A stream with an interval carries the newest event of each key, and goes on after its
// cursor without losing that.
func TestRENEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren?every=200"))
		for range 50 { // 5 s
			h.emit(realtime.KVPut("prices", "gold"))
			time.Sleep(100 * time.Millisecond)
		}
		h.emit(realtime.KVPut("prices", "tin"))
		synctest.Wait()
		cursor := h.Cursor()
		if n := len(s.rest()); n < 20 || n > 28 {
			t.Errorf("%d events in 5 s", n)
		}
		h.emit(realtime.KVPut("prices", "gold"))
		s.cut() // in the middle of the interval
		again := h.ren(get("/ren?every=200", "Last-Event-ID", string(cursor)))
		if again.hello.State != "resumed" || again.next().Key != "gold" {
			t.Errorf("%+v", again.hello)
		}
		for _, every := range []string{"0", "-1", "10001", "x", "1e3", "99999999999999999999", "1&every=2"} {
			if status, f := h.refused(get("/ren?every=" + every)); status != 400 || f.Code != "bad_request" {
				t.Errorf("every=%s: %d %+v", every, status, f)
			}
		}
	})
}
