package session_test

import (
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

var (
	forbidden   = wire.Errorf("forbidden", "no")
	unavailable = wire.Errorf("unavailable", "later")
)

// flat is what was told without the borders of messages, which depend on the budget.
func flat(told string) string { return strings.ReplaceAll(told, " | ", ", ") }

// channelCases are what a session tells of channels.
var channelCases = map[string]struct {
	do   func(c *channels, h *history)
	want string
}{
	"fresh": {func(c *channels, h *history) {
		h.say("a")
		c.subscribe(1, "a", "", false)
	}, "subscribed#1 a fresh @1"},
	"live": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		c.run()
		h.say("a", "b", "a")
	}, "message a @1, message a @3"},
	"answered before its first event": {func(c *channels, h *history) {
		h.say("a", "b", "a")
		c.subscribe(1, "a", wire.Cursor(at(1)), false)
		c.ping()
	}, "subscribed#1 a resumed @1, ping, message a @3"},
	"nothing after the answer to unsubscribe": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		c.subscribe(2, "b", "", false)
		c.run()
		h.say("a", "b", "a")
		c.unsubscribe(3, "a")
		h.say("a")
	}, "ok#3, message b @2"},
	"not subscribed": {func(c *channels, _ *history) { c.unsubscribe(1, "a") }, "ok#1"},
	"unsubscribed and back": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		h.say("a")
		c.unsubscribe(2, "a")
		c.subscribe(3, "a", wire.Cursor(at(0)), false)
	}, "subscribed#1 a fresh @1, ok#2, subscribed#3 a resumed @0, message a @1"},
	"subscribed twice": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		c.run()
		h.say("a")
		c.subscribe(2, "a", wire.Cursor(at(9)), false)
	}, "subscribed#2 a resumed, message a @1"},
	"too many": {func(c *channels, _ *history) {
		for i, name := range []string{"a", "b", "c", "d", "a"} {
			c.subscribe(int64(i), name, "", false)
		}
	}, "subscribed#0 a fresh @0, subscribed#1 b fresh @0, subscribed#2 c fresh @0, error#3 channel_limit, subscribed#4 a resumed"},
	"garbage": {func(c *channels, _ *history) { c.subscribe(1, "a", "garbage", false) },
		"subscribed#1 a reset unknown @0"},
	"evicted": {func(c *channels, h *history) {
		for range 20 {
			h.say("a")
		}
		c.subscribe(1, "a", wire.Cursor(at(2)), false)
	}, "subscribed#1 a reset evicted @20"},
	"evicted of another channel": {func(c *channels, h *history) {
		h.say("b")
		for range 10 {
			h.say("a")
		}
		c.subscribe(1, "b", wire.Cursor(at(1)), false)
	}, "subscribed#1 b resumed @1"},
	"lost": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		c.run()
		h.Reset(at(10))
		h.say("b", "a")
	}, "reset a backend @10, message a @12"},
	"outrun by one channel": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		c.subscribe(2, "b", "", false)
		c.run()
		for range 20 {
			h.say("a")
		}
		h.say("b")
	}, "reset a evicted @21, message b @21"},
	"another epoch": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		c.run()
		h.Reset(backend.Position{Epoch: epoch + 1, Seq: 3})
		h.say("a")
	}, "reset a epoch 2.3, message a 2.4"},
	"pings say what is complete": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		h.say("a", "other")
		c.run()
		c.ping()
	}, "ping @2"},
	"pings of a replay say nothing": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		h.say("a", "b")
		c.run()
		c.subscribe(2, "b", wire.Cursor(at(0)), false)
		c.ping()
	}, "subscribed#2 b resumed @0, ping, message b @2"},
	"nor pings while a channel lags that another is subscribed to after": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		c.run()
		h.say("a", "b")
		c.subscribe(2, "b", "", false)
		c.ping()
	}, "subscribed#2 b fresh @2, ping, message a @1"},
	"and after it again": {func(c *channels, h *history) {
		c.subscribe(1, "a", "", false)
		h.say("a", "b")
		c.run()
		c.subscribe(2, "b", wire.Cursor(at(0)), false)
		c.run()
		c.ping()
	}, "ping @2"},
	"hidden": {func(c *channels, h *history) {
		c.view.hidden = map[string]bool{"bob": true}
		c.subscribe(1, "a", "", true)
		c.run()
		c.answer(nil, "bob", "eve")
		h.move(backend.PresenceJoin, "a", "ada")
		h.move(backend.PresenceJoin, "a", "bob")
	}, "subscribed#1 a fresh @0, state a of 1 @0, join a ada @1"},
	"hidden since it was here last": {func(c *channels, h *history) {
		h.move(backend.PresenceJoin, "a", "ada")
		h.say("a")
		c.view.hidden = map[string]bool{"bob": true}
		c.subscribe(1, "a", wire.Cursor(at(0)), true)
		c.run()
		c.answer(nil, "ada", "bob")
	}, "subscribed#1 a resumed @0, state a of 1 @0, message a @2"},
	"hidden since it was here last, unreadable": {func(c *channels, h *history) {
		c.view.hidden = map[string]bool{"bob": true}
		c.subscribe(1, "a", wire.Cursor(at(0)), true)
		c.run()
		c.answer(unavailable)
		h.say("a")
	}, "error#1 unavailable"},
	"no presence unless asked": {func(c *channels, h *history) {
		h.move(backend.PresenceJoin, "a", "ada")
		h.say("a")
		c.subscribe(1, "a", wire.Cursor(at(0)), false)
	}, "subscribed#1 a resumed @0, message a @2"},
	"presence no longer": {func(c *channels, h *history) {
		c.subscribe(1, "a", wire.Cursor(at(0)), true)
		c.subscribe(2, "a", "", false)
		h.move(backend.PresenceJoin, "a", "ada")
	}, "subscribed#1 a resumed @0, subscribed#2 a resumed"},
}

// What subscriptions are told, and in which order.
func TestChannels(t *testing.T) {
	for name, c := range channelCases {
		for size, budget := range budgets {
			t.Run(name+"/"+size, func(t *testing.T) {
				h := newHistory(ring.Limits{Records: 8, Bytes: 1 << 20, Age: time.Hour})
				c2 := newChannels(t, h)
				c2.budget = budget
				c.do(c2, h)
				if !c2.dirty.Load() {
					t.Error("it was not woken")
				}
				expect(t, "told", flat(c2.told()), c.want)
				expect(t, "told again", c2.told(), "")
			})
		}
	}
}

// What the policy said of a channel counts, unless it was asked later, about that
// channel or by an operation, and has answered.
func TestRestrict(t *testing.T) {
	h := newHistory(roomy)
	c := newChannels(t, h)
	c.subscribe(1, "a", "", false) // turn 1
	c.subscribe(2, "b", "", false) // turn 2
	c.run()
	early, late := c.Turn(), c.Turn()
	restrict := func(turn uint64, verdict map[string]*wire.Error, want string) {
		t.Helper()
		c.Do(func() { c.Restrict(turn, verdict) })
		expect(t, "told", c.told(), want)
	}
	restrict(1, map[string]*wire.Error{"b": forbidden}, "") // it was allowed later
	restrict(late, map[string]*wire.Error{"a": nil}, "")
	restrict(early, map[string]*wire.Error{"a": forbidden, "b": nil}, "")
	restrict(early, map[string]*wire.Error{"a": forbidden, "b": forbidden}, "unsubscribed b forbidden @0")
	h.say("a", "b")
	expect(t, "told", c.told(), "message a @1")
	c.subscribe(3, "a", "", false) // allowed once more
	c.run()
	restrict(late, map[string]*wire.Error{"a": forbidden}, "")
	restrict(c.Turn(), map[string]*wire.Error{"a": forbidden, "b": forbidden, "c": forbidden}, "unsubscribed a forbidden @2")
	h.say("a")
	expect(t, "told", c.told(), "")
	expect(t, "names", strings.Join(c.Names(), " "), "")
}

// A connection that was closed is woken by nothing.
func TestClosedChannels(t *testing.T) {
	h := newHistory(roomy)
	c := newChannels(t, h)
	c.subscribe(1, "a", "", false)
	c.run()
	c.Close()
	if h.say("a"); c.dirty.Load() {
		t.Error("woken after the end")
	}
}

// What is handed over by a function is done when what the function has told was
// written: so somebody can wait for that.
func TestTold(t *testing.T) {
	c := newChannels(t, newHistory(roomy))
	told := false
	c.Do(func() {
		c.Answer(wire.Frame{Event: "left"})
		c.Do(func() { told = true })
	})
	out, _ := c.fill()
	if told || short(t, []string{out}) != "left" {
		t.Errorf("told %q, and said so: %v", out, told)
	}
	if !c.dirty.Load() {
		t.Error("not woken")
	}
	if c.fill(); !told {
		t.Error("nobody says that it was told")
	}
	if c.dirty.Load() {
		t.Error("woken by nothing")
	}
}
