package realtime_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

func TestRENHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.ren(get("/ren?s=db"))
		began := time.Now()
		for i := range 3 {
			least := string(h.Cursor())
			h.emit(realtime.KVPut("n", "not of this view"))
			ev, ok := s.any(time.Minute)
			if passed := time.Since(began); !ok || ev.Name != "ren.ping" || passed != time.Duration(i+1)*25*time.Second {
				t.Fatalf("after %v: %s %s, want a ping every 25 s", passed, ev.Name, ev.Raw)
			}
			if ev.Cursor < least || ev.ID != ev.Cursor || ev.TS != time.Now().UnixMilli() {
				t.Errorf("ping %s, want the cursor of a quiet view to move on to %s", ev.Raw, least)
			}
		}
	})
}

func TestRENRetryIsRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		retries := map[time.Duration]bool{}
		for range 50 {
			s := h.ren(get("/ren"))
			if r := s.hello.Retry; r < time.Second || r > 5*time.Second {
				t.Errorf("retry %v, want 1 to 5 s", r)
			}
			retries[s.hello.Retry] = true
			s.cut()
		}
		if len(retries) < 25 {
			t.Errorf("%d different retries of 50", len(retries))
		}
	})
}

func TestRENLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		var lives []time.Duration
		for range 8 {
			s := h.ren(get("/ren"))
			began := time.Now()
			var ev renEvent
			for ev.Name != "ren.bye" {
				ev, _ = s.any(time.Minute)
			}
			life := time.Since(began)
			if life < 8*time.Minute || life > 12*time.Minute || ev.Reason != "rotate" || ev.Cursor != ev.ID {
				t.Errorf("after %v: %s", life, ev.Raw)
			}
			lives = append(lives, life)
			s.ended()
			h.emit(realtime.KVPut("n", "meanwhile"))
			again := h.ren(get("/ren", "Last-Event-ID", ev.ID))
			if got := again.keys(1); again.hello.State != "resumed" || got != "meanwhile" {
				t.Errorf("%s, then %s", again.hello.Raw, got)
			}
			again.cut()
		}
		if slices.Min(lives) == slices.Max(lives) {
			t.Errorf("all streams lived %v", lives[0])
		}
	})
}

func TestRENExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, expiring(90*time.Second), nil)
		s := h.ren(get("/ren"))
		time.Sleep(90*time.Second - 1)
		s.nothing()
		time.Sleep(2 * time.Nanosecond)
		h.emit(realtime.KVPut("n", "too late"))
		if ev := s.next(); ev.Name != "ren.bye" || ev.Reason != "expired" {
			t.Errorf("%s %s", ev.Name, ev.Raw)
		}
		s.ended()
	})
}

// A client that has much to catch up with, slowly, does not outlive its
// credentials by it.
func TestRENExpiresWhileCatchingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, expiring(10*time.Second), nil)
		since := string(h.Cursor())
		for range 4000 {
			h.publish("room", strings.Repeat("x", 900))
		}
		s := h.renStalled(get("/ren", "Last-Event-ID", since))
		began := time.Now()
		buf := make([]byte, 8<<10)
		for {
			time.Sleep(time.Second)
			if _, err := io.ReadFull(s.resp.Body, buf); err != nil {
				break
			}
		}
		if life := time.Since(began); life > 40*time.Second {
			t.Errorf("the stream went on for %v with credentials for 10 s", life)
		}
	})
}

// A reader that stalls is dropped after WriteTimeout, nobody else notices, and
// it loses nothing.
func TestRENStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		stalled, healthy := h.renStalled(get("/ren")), h.ren(get("/ren"))
		began := time.Now()
		for i := range 200 {
			h.publish("room", fmt.Sprint(i, strings.Repeat("x", 1000)))
		}
		synctest.Wait()
		if got := len(healthy.rest()); got != 200 || time.Since(began) != 0 {
			t.Errorf("the healthy reader got %d of 200 events after %v", got, time.Since(began))
		}
		time.Sleep(11 * time.Second)
		stalled.pump()
		got := stalled.rest()
		if len(got) == 0 || len(got) >= 200 {
			t.Fatalf("the stalled reader got %d events", len(got))
		}
		if _, more := stalled.box.all(); more {
			t.Error("the stalled stream did not end")
		}
		again := h.ren(get("/ren", "Last-Event-ID", got[len(got)-1].ID))
		rest := again.rest()
		if again.hello.State != "resumed" || len(got)-1+len(rest) != 200 {
			t.Errorf("%s: %d events before, %d after", again.hello.Raw, len(got)-1, len(rest))
		}
		healthy.nothing()
	})
}

// A reader that is slow, but reads, is not dropped.
func TestRENSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.renStalled(get("/ren"))
		for range 100 {
			h.publish("room", strings.Repeat("x", 1000))
		}
		n, buf := 0, make([]byte, 4<<10)
		for n < 100_000 {
			time.Sleep(time.Second)
			m, err := io.ReadFull(s.resp.Body, buf)
			if n += m; err != nil {
				t.Fatalf("cut after %d bytes: %v", n, err)
			}
		}
	})
}
