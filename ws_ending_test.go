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

func TestWSPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		began := time.Now()
		s := h.socket(get("/realtime"))
		s.ok(`"op":"ping"`)
		s.ok(subscribe("room"))
		for i := range 4 {
			least := string(h.Cursor())
			h.publish("elsewhere", i)
			o, _ := s.any(time.Minute)
			if passed := time.Since(began); o.Event != "ping" || passed != time.Duration(i+1)*25*time.Second || o.TS != time.Now().UnixMilli() {
				t.Fatalf("after %v: %s", passed, o.raw)
			}
			if i > 0 && o.Cursor < least {
				t.Errorf("ping %s, want its cursor to move on to %s", o.raw, least)
			}
		}
	})
}

// What has held up a ping does not put off those that follow. Otherwise the clients of a
// server that was busy once would get all of their pings at the same time ever after.
func TestWSPingsKeepTheirTimes(t *testing.T) {
	for _, hijack := range bothWays {
		bubble(t, fmt.Sprint(hijack), func(t *testing.T) {
			policy := open()
			policy.See = func(realtime.Identity, realtime.RenEvent) bool {
				time.Sleep(7 * time.Second) // of the shard
				return true
			}
			h := start(t, policy, &realtime.Options{Hijack: hijack})
			began := time.Now()
			s := h.socket(get("/realtime"))
			s.ok(subscribe("room"))
			time.Sleep(20 * time.Second)
			h.publish("room", 1)
			var at []time.Duration
			for len(at) < 3 {
				if o, _ := s.any(time.Minute); o.Event == "ping" {
					at = append(at, time.Since(began))
				}
			}
			if want := []time.Duration{27 * time.Second, 50 * time.Second, 75 * time.Second}; !slices.Equal(at, want) {
				t.Errorf("pings after %v, want %v", at, want)
			}
		})
	}
}

// A peer that reads, but does not answer, is gone within 35 s, and its members
// after the grace.
func TestWSDeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		s := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		s.ok(`"op":"join","channel":"room"`)
		synctest.Wait() // or that ada has joined is perhaps news to who subscribes
		watch := h.socket(get("/realtime"))
		watch.ok(subscribe("room") + `,"presence":true`)
		watch.want("presence.state")

		dead := h.dialStalled(get("/realtime", "Authorization", "Bearer bob"))
		dead.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		dead.send(`{"op":"join","channel":"room"}`)
		gone := make(chan time.Time, 1)
		began := time.Now()
		go func() {
			_, _ = io.Copy(io.Discard, dead.net)
			gone <- time.Now()
		}()
		watch.want("presence.join")
		dropped := (<-gone).Sub(began)
		if dropped > 35*time.Second {
			t.Errorf("dropped after %v, want 35 s at most", dropped)
		}
		for {
			o, _ := watch.any(time.Minute)
			if o.Event == "ping" {
				continue
			}
			if left := time.Since(began); o.Event != "presence.leave" || o.UserID != "bob" || o.Reason != "timeout" || left != dropped+15*time.Second {
				t.Errorf("after %v: %s", left, o.raw)
			}
			break
		}
		time.Sleep(time.Minute)
		watch.nothing() // ada, who answers pings, is still there
	})
}

func TestWSExpires(t *testing.T) {
	for _, path := range []string{"/realtime", "/realtime?auth=hello"} {
		bubble(t, path, func(t *testing.T) {
			h := start(t, expiring(time.Minute), nil)
			began := time.Now()
			s := h.socket(get(path))
			s.ok(subscribe("room"))
			code, last := s.closed()
			if code != 4401 || time.Since(began) != time.Minute || len(last) != 1 || last[0].Event != "bye" || last[0].Reason != "expired" {
				t.Errorf("closed with %d after %v, last %+v", code, time.Since(began), last)
			}
		})
	}
}

func TestWSExpiresWhileCatchingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, expiring(10*time.Second), nil)
		cursor := string(h.Cursor())
		for range 4000 {
			h.publish("room", strings.Repeat("x", 900))
		}
		s := h.dialStalled(get("/realtime"))
		began := time.Now()
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		s.send(`{` + since("room", cursor) + `}`)
		buf := make([]byte, 8<<10)
		for {
			time.Sleep(time.Second)
			if _, err := io.ReadFull(s.net, buf); err != nil {
				break
			}
		}
		if life := time.Since(began); life > 60*time.Second {
			t.Errorf("the connection went on for %v with credentials for 10 s", life)
		}
	})
}

func TestWSStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		cursor := string(h.Cursor())
		stalled, healthy := h.dialStalled(get("/realtime")), h.socket(get("/realtime"))
		stalled.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		stalled.send(`{` + subscribe("room") + `}`)
		healthy.ok(subscribe("room"))
		synctest.Wait()
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
		stalled.box.end()
		again := h.socket(get("/realtime"))
		if o := again.call(since("room", cursor)); o.State != "resumed" {
			t.Errorf("%s", o.raw)
		}
		if n := len(again.rest()); n != 200 {
			t.Errorf("%d of 200 events after coming back", n)
		}
		healthy.nothing()
	})
}
