package realtime_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// rewound parses what comes with the answer to a subscribe.
func rewound(t *testing.T, o object) (p wsPage) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.raw), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// A rewind begins with the last messages and goes on with what comes, each once, while
// others publish and the history evicts.
func TestWSRewind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 64}})
		var at realtime.Cursor // until it is known the history would lag, and lose some
		for i := range 100 {
			h.publish("room", i, realtime.PublishedAt(&at))
		}
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 100; ; i++ {
				select {
				case <-stop:
					return
				default:
					h.publish("room", i, realtime.PublishedAt(&at))
					time.Sleep(time.Millisecond)
				}
			}
		}()
		for range 20 {
			s := h.socket(get("/realtime"))
			o := s.call(subscribe("room") + `,"rewind":50`)
			if o.State != "fresh" {
				t.Errorf("%s", o.raw)
			}
			time.Sleep(20 * time.Millisecond)
			last, first := -1, rewound(t, o).Messages
			if len(first) != 50 {
				t.Errorf("rewound by %d", len(first))
			}
			for i, o := range append(first, s.rest()...) {
				var n int
				if err := json.Unmarshal(o.Data, &n); err != nil || o.Event != "message" || i > 0 && n != last+1 {
					t.Fatalf("%s follows %d", o.raw, last)
				}
				last = n
			}
			if last < 100 {
				t.Errorf("the last message is %d", last)
			}
			s.ws.CloseNow()
		}
		close(stop)
		<-done
	})
}

// A rewind has what was published before it, although the log lags; it does not wait for
// a log that is silent.
func TestWSRewindOfALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b})
		s := h.socket(get("/realtime"))
		b.Hold()
		h.publish("room", 1)
		time.AfterFunc(time.Second, b.Release)
		if got := rewound(t, s.call(subscribe("room")+`,"rewind":5`)).String(); got != "subscribed 1 start" {
			t.Errorf("%s", got)
		}
		synctest.Wait()
		b.Hold()
		h.publish("room", 2)
		began := time.Now()
		if got := rewound(t, s.call(subscribe("room")+`,"rewind":5`)).String(); got != "subscribed 1 start" || time.Since(began) > 3*time.Second {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		b.Release()
		s.data(1)
	})
}

// The last messages come with the answer, before the roster, on any subscribe.
func TestWSRewindWithPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		h.publish("room", 1)
		h.join("room", "ada", nil)
		h.publish("room", 2)
		h.join("room", "bob", nil)
		synctest.Wait() // until the node has read its log
		s := h.socket(get("/realtime"))
		o := s.call(subscribe("room") + `,"presence":true,"rewind":2`)
		if got := rewound(t, o).String(); got != "subscribed 1 2 start" {
			t.Errorf("%s", got)
		}
		if o := s.want("presence.state"); len(o.Members) != 2 {
			t.Errorf("%s", o.raw)
		}
		s.nothing()
		time.Sleep(time.Second)
		h.publish("room", 3)
		s.data(1)
		for rest, want := range map[string]string{
			`,"rewindMs":500`: "subscribed 3 ", `,"rewindMs":1500`: "subscribed 1 2 3 start", `,"rewindMs":1500,"rewind":2`: "subscribed 2 3 ",
		} {
			if got := rewound(t, s.call(subscribe("room")+rest)).String(); got != want {
				t.Errorf("%s: %s, want %s", rest, got, want)
			}
		}
	})
}

// The past that waits for a roster does not come after a Recheck that takes it away.
func TestWSRewindIsTakenAway(t *testing.T) {
	var denied atomic.Bool
	policy := open()
	policy.AskHistory = true
	policy.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
		if a.Verb == realtime.VerbHistory && denied.Load() {
			return errNotAllowed
		}
		return nil
	}
	hangs(t, policy, func(t *testing.T, h *host, b *hanging) {
		denied.Store(false)
		h.publish("room", 1)
		s := h.socket(get("/realtime"))
		b.hang("List member")
		s.send(`{` + subscribe("room") + `,"presence":true,"rewind":5,"ref":7}`)
		synctest.Wait()
		denied.Store(true)
		if err := h.Recheck(t.Context(), ""); err != nil {
			t.Error(err)
		}
		b.release()
		if got := rewound(t, s.want("subscribed")).String(); got != "subscribed evicted" {
			t.Errorf("%s", got)
		}
		s.want("presence.state")
	})
}

// A subscription counts as more operations the more it rewinds by: it cannot be used to have
// more of the past sent than pages of history can.
func TestWSRewindsArePaced(t *testing.T) {
	for name, c := range map[string]struct {
		messages, bytes int
		from, to        int // operations that are done at once, of a burst of 60
	}{
		"much":             {20, 16 << 10, 10, 30},
		"much in one":      {1, 60 << 10, 28, 36},
		"little":           {20, 10, 55, 60},
		"nothing is there": {0, 0, 55, 60},
	} {
		bubble(t, name, func(t *testing.T) {
			h := start(t, open(), nil)
			for range c.messages {
				h.publish("room", strings.Repeat("x", c.bytes))
			}
			s := h.socket(get("/realtime"))
			done := 0
			for range 60 {
				if o := s.call(subscribe("room") + `,"rewind":20`); o.Code == "rate_limited" {
					break
				}
				done++
			}
			if done < c.from || done > c.to {
				t.Errorf("%d were done", done)
			}
			time.Sleep(20 * time.Second)
			s.ok(subscribe("room"))
		})
	}
}
