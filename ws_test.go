package realtime_test

import (
	"flag"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// noLimits lets a test send as fast as it likes.
// -full runs what proves a promise with the figures it is made with, which takes
// minutes.
var full = flag.Bool("full", false, "prove promises with their full figures")

func figure(short, promised int) int {
	if *full {
		return promised
	}
	return short
}

var noLimits = &realtime.Options{Limits: realtime.Limits{Rate: 1 << 30, Burst: 1 << 30}}

func subscribe(channel string) string { return `"op":"subscribe","channel":"` + channel + `"` }

func since(channel, cursor string) string { return subscribe(channel) + `,"since":"` + cursor + `"` }

func publish(channel, data string) string {
	return `"op":"publish","channel":"` + channel + `","data":` + data
}

func TestWSSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{History: realtime.History{Events: 10}})
		evicted := string(h.Cursor())
		for i := range 12 {
			h.publish("room", i)
			synctest.Wait()
		}
		cursor := string(h.Cursor())
		h.publish("room", "missed")
		h.publish("other", "not followed")
		synctest.Wait()
		head := string(h.Cursor())
		for _, c := range []struct{ name, since, state, reason, cursor, missed string }{
			{"fresh", "", "fresh", "", head, ""},
			{"resumed", cursor, "resumed", "", cursor, `"missed"`},
			{"at the head", head, "resumed", "", head, ""},
			{"evicted", evicted, "reset", "evicted", head, ""},
			{"garbage", "garbage", "reset", "unknown", head, ""},
			{"epoch", "1.1", "reset", "epoch", head, ""},
			{"long", strings.Repeat("z", 10_000), "reset", "unknown", head, ""},
			{"NUL", `\u0000`, "reset", "unknown", head, ""},
		} {
			s := h.socket(get("/realtime"))
			o := s.call(since("room", c.since))
			if o.Event != "subscribed" || o.Channel != "room" || o.State != c.state || o.Reason != c.reason || o.Cursor != c.cursor {
				t.Errorf("%s: %s", c.name, o.raw)
			}
			if c.missed != "" {
				if got := s.data(1); got != c.missed {
					t.Errorf("%s: missed %s", c.name, got)
				}
			}
			s.nothing()
		}
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		h.publish("room", map[string]any{"type": "message", "text": "line\nline\u2028 \x00<"}, realtime.AsUser("bob"), realtime.FromClient(tab2))
		o := s.want("message")
		if o.Channel != "room" || o.UserID != "bob" || o.From != wire.Tag(tab2) || o.TS != time.Now().UnixMilli() || o.ID != string(h.Cursor()) ||
			string(o.Data) != `{"text":"line\nline\u2028 \u0000\u003c","type":"message"}` {
			t.Errorf("%s", o.raw)
		}
	})
}

func TestWSSubscribeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		before := string(h.Cursor())
		h.publish("room", "old")
		h.join("room", "ada", nil)
		synctest.Wait()
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room"))
		if o := s.call(since("room", before)); o.State != "resumed" || o.Cursor != "" {
			t.Errorf("again: %s", o.raw)
		}
		s.nothing() // it moves nothing
		h.join("room", "bob", nil)
		s.nothing()
		s.ok(subscribe("room") + `,"presence":true`)
		if o := s.want("presence.state"); len(o.Members) != 2 {
			t.Errorf("%s", o.raw)
		}
		h.join("room", "eve", nil)
		s.want("presence.join")
		s.ok(subscribe("room"))
		h.join("room", "joe", nil)
		h.publish("room", "new")
		if got := s.data(1); got != `"new"` {
			t.Error(got)
		}
		s.nothing()
	})
}

// Nothing of a channel comes after the answer to unsubscribe, even while others
// publish.
func TestWSUnsubscribe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), noLimits)
		s := h.socket(get("/realtime"))
		var stop atomic.Bool
		var publisher sync.WaitGroup
		publisher.Go(func() {
			for i := 0; !stop.Load(); i++ {
				h.publish("room", i)
			}
		})
		for range 100 {
			s.ask(subscribe("room"))
			ref := s.ask(`"op":"unsubscribe","channel":"room"`)
			s.answer(ref)
			if o := s.call(`"op":"ping"`); o.Event != "ok" {
				t.Fatalf("after unsubscribe: %s", o.raw)
			}
		}
		stop.Store(true)
		publisher.Wait()
		s.nothing()
		s.ok(`"op":"unsubscribe","channel":"never subscribed"`)
	})
}
