package session_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// counted fills until there is no more, and says what a driver counts of it.
func (d *driver) counted() string {
	var words []string
	for more := true; more; {
		_, more = d.fill()
		told := d.buf.Told
		for what, n := range map[string]int{
			"events": told.Events, "coalesced": told.Coalesced, "traced": len(told.Traced), "bytes of the past": told.Past,
		} {
			if n > 0 {
				words = append(words, fmt.Sprint(what, " ", n))
			}
		}
		if !told.Oldest.IsZero() {
			words = append(words, fmt.Sprint("oldest ", time.Since(told.Oldest)))
		}
		for _, why := range told.Resets {
			words = append(words, "reset "+string(why))
		}
		words = append(words, told.Errors...)
	}
	return strings.Join(slices.Sorted(slices.Values(words)), ", ")
}

// sampled adds a message of a publish that was sampled for a trace.
func (h *history) sampled(channel string) {
	rec := &backend.Logged{Pos: h.Head().Next(), Event: backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: channel}}
	rec.Trace.Parent = "00-" + strings.Repeat("1", 32) + "-" + strings.Repeat("2", 16) + "-01"
	h.Put([]*backend.Logged{rec})
}

// A driver counts what its client is told: replays have no delay and no spans.
func TestCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(ring.Limits{Records: 8, Bytes: 1 << 20, Age: time.Hour})
		c := newChannels(t, h)
		h.sampled("a")
		h.say("a")
		time.Sleep(time.Second)
		c.subscribe(1, "a", wire.Cursor(at(0)), false)
		expect(t, "a replay", c.counted(), "events 2")
		h.say("a")
		time.Sleep(time.Second)
		h.say("a", "other")
		h.sampled("a")
		time.Sleep(time.Second)
		expect(t, "live", c.counted(), "events 3, oldest 2s, traced 1")
		for range 9 {
			h.say("a")
		}
		expect(t, "outrun", c.counted(), "reset evicted")
		c.subscribe(2, "b", "garbage", false)
		expect(t, "a cursor of nobody", c.counted(), "reset unknown")
		c.subscribe(3, "c", "", false)
		expect(t, "fresh", c.counted(), "")
		c.subscribe(4, "d", "", false)
		expect(t, "refused", c.counted(), "channel_limit")
	})
}

// What comes of the past with a subscription is counted in bytes, and not as events.
func TestCountedOfThePast(t *testing.T) {
	h := newHistory(roomy)
	c := newChannels(t, h)
	h.say("a", "a", "a")
	size := 0
	for _, rec := range h.log[1:] {
		size += len(wire.Channel(rec))
	}
	c.rewind(1, "a", "", false, 2, 0)
	expect(t, "two messages", c.counted(), fmt.Sprint("bytes of the past ", size))
}

// Of one event no more than so many deliveries have spans.
func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(roomy)
		var all []*channels
		for range 20 {
			c := newChannels(t, h)
			c.subscribe(1, "a", "", false)
			c.run()
			all = append(all, c)
		}
		h.sampled("a")
		spans := 0
		for _, c := range all {
			c.fill()
			spans += len(c.buf.Told.Traced)
		}
		if spans != 16 {
			t.Errorf("%d spans", spans)
		}
	})
}

// What a stream does not tell, since there is a newer event of its key, is counted, and so
// are resets of one domain and of all.
func TestCountedOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(ring.Limits{Records: 8, Bytes: 1 << 20, Age: time.Hour})
		_, d := newPaced(t, h, nil, &view{})
		d.run()
		h.keyed("x", "x", "y", "x", "")
		expect(t, "keys", d.counted(), "coalesced 2, events 3, oldest 0s")
		h.add(backend.Event{Type: backend.Reset, Resource: "kv"})
		time.Sleep(time.Second)
		expect(t, "a domain is lost", d.counted(), "reset backend")
		h.Reset(at(20))
		time.Sleep(time.Second)
		expect(t, "all is lost", d.counted(), "reset backend")
	})
}

// How many events have not been told yet can be asked, of the grants of now.
func TestUnread(t *testing.T) {
	h := newHistory(roomy)
	s := newStream(t, h)
	s.begin("", "kv")
	s.run()
	s.Do(func() { s.Regrant(&view{}, topics("db"), session.Hello{Domains: []string{"db"}}) })
	s.run()
	h.put("kv", "db", "db")
	if n, _ := s.Unread(); n != 2 {
		t.Errorf("%d events are not read", n)
	}
}
