package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// rosterCases are what a roster is after what has happened.
var rosterCases = map[string]struct {
	do   func(c *channels, h *history) // after a fresh subscribe with presence
	want string
}{
	"asked for": {func(*channels, *history) {}, ""},
	"come": {func(c *channels, _ *history) { c.answer(nil, "ada", "bob") },
		"subscribed#1 a fresh @0, state a of 2 @0"},
	"empty": {func(c *channels, _ *history) { c.answer(nil) },
		"subscribed#1 a fresh @0, state a of 0 @0"},
	"its channel waits, the others do not": {func(c *channels, h *history) {
		c.subscribe(2, "b", "", false)
		h.say("a", "b", "a")
	}, "subscribed#2 b fresh @3"},
	"others before, its own after": {func(c *channels, h *history) {
		c.subscribe(2, "b", wire.Cursor(at(0)), false)
		h.say("a", "b", "a")
		c.run()
		c.answer(nil, "ada")
	}, "subscribed#1 a fresh @0, state a of 1 @0, message a @1, message a @3"},
	"what it has does not come again": {func(c *channels, h *history) {
		h.move(backend.PresenceJoin, "a", "ada")
		h.say("a")
		c.answer(nil, "ada")
		h.move(backend.PresenceJoin, "a", "bob")
	}, "subscribed#1 a fresh @0, state a of 1 @0, message a @2, join a bob @3"},
	"no cursor meanwhile": {func(c *channels, h *history) {
		h.say("b")
		c.ping()
	}, "ping"},
	"a cursor afterwards": {func(c *channels, h *history) {
		h.say("b")
		c.answer(nil)
		c.run()
		c.ping()
	}, "ping @1"},
	"unsubscribed meanwhile": {func(c *channels, h *history) {
		c.unsubscribe(2, "a")
		c.run()
		c.answer(nil, "ada")
		h.say("a")
	}, ""},
	"unsubscribe answers the subscribe first": {func(c *channels, _ *history) { c.unsubscribe(2, "a") },
		"subscribed#1 a fresh @0, ok#2"},
	"back before it comes": {func(c *channels, h *history) {
		c.unsubscribe(2, "a")
		c.subscribe(3, "a", "", true)
		c.run()
		c.answer(nil, "old")
		expect(c.t, "told by a roster of before", c.told(), "")
		c.answer(nil, "new")
	}, "subscribed#3 a fresh @0, state a of 1 @0"},
	"asked again meanwhile": {func(c *channels, h *history) {
		c.subscribe(2, "a", "", true)
		c.run()
		h.say("a")
		c.answer(nil, "ada")
		expect(c.t, "told", flat(c.told()), "subscribed#1 a fresh @0, state a of 1 @0")
		c.answer(nil, "bob")
	}, "subscribed#2 a resumed, state a of 1 @0, message a @1"},
	"without presence meanwhile": {func(c *channels, h *history) {
		c.subscribe(2, "a", "", false)
		h.move(backend.PresenceJoin, "a", "ada")
		h.say("a")
	}, "subscribed#1 a fresh @0, subscribed#2 a resumed, message a @2"},
	"unreadable": {func(c *channels, h *history) {
		c.answer(unavailable)
		h.say("a")
	}, "error#1 unavailable"},
	"unreadable for one who has it": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		c.subscribe(2, "a", "", true)
		c.run()
		h.move(backend.PresenceJoin, "a", "bob")
		c.answer(unavailable)
	}, "error#2 unavailable, join a bob @1"},
	"unreadable for all who asked": {func(c *channels, _ *history) {
		c.subscribe(2, "a", "", true)
		c.run()
		c.answer(unavailable)
	}, "error#1 unavailable, error#2 unavailable"},
	"taken away meanwhile": {func(c *channels, h *history) {
		c.Do(func() { c.Restrict(c.Turn(), map[string]*wire.Error{"a": forbidden}) })
		h.say("a")
	}, "subscribed#1 a fresh @0, unsubscribed a forbidden @0"},
	"taken away after a reset that was not told": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		h.Reset(at(5))
		c.run()
		c.Do(func() { c.Restrict(c.Turn(), map[string]*wire.Error{"a": unavailable}) })
	}, "unsubscribed a unavailable"},
	"a reset with the roster after it": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		h.Reset(at(5))
		h.say("a", "b")
		c.run()
		c.ping()
		expect(c.t, "told before it is read", c.told(), "ping")
		c.answer(nil, "bob")
	}, "reset a backend @5, state a of 1 @5, message a @6"},
	"a reset that cannot be told": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		h.Reset(at(5))
		h.say("a")
		c.run()
		c.answer(unavailable)
		c.run()
		expect(c.t, "the connection must end", c.unreadable, "unavailable")
	}, ""},
	"a reset without presence": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		h.Reset(at(5))
		h.say("a")
		c.run()
		c.subscribe(2, "a", "", false)
	}, "reset a backend @5, subscribed#2 a resumed, message a @6"},
	"shown again": {func(c *channels, h *history) {
		c.view.hidden = map[string]bool{"bob": true}
		c.answer(nil, "ada", "bob")
		expect(c.t, "told", flat(c.told()), "subscribed#1 a fresh @0, state a of 1 @0")
		c.Do(func() {
			c.SetView(&view{hidden: map[string]bool{"ada": true, "cy": true}})
			c.ShowAgain()
		})
		c.run()
		c.answer(nil, "ada", "bob", "dan")
	}, "state a of 2 @0"},
	"not shown again where all see the same": {func(c *channels, _ *history) {
		c.answer(nil, "ada", "bob")
		c.run()
		c.Do(c.ShowAgain)
		c.run()
		expect(c.t, "asked", strings.Repeat("!", len(c.asked)), "")
	}, ""},
	"shown again, unreadable": {func(c *channels, _ *history) {
		c.answer(nil, "ada")
		c.run()
		c.view.hidden = map[string]bool{"bob": true}
		c.Do(c.ShowAgain)
		c.run()
		c.answer(unavailable)
		c.run()
		expect(c.t, "the connection must end", c.unreadable, "unavailable")
	}, ""},
	"shown again while it is read, unreadable": {func(c *channels, _ *history) {
		c.checkedWhileItIsRead()
		c.answer(unavailable)
		c.run()
		expect(c.t, "the connection must end", c.unreadable, "unavailable")
	}, ""},
	"shown again while it is read, unreadable for one who has none": {func(c *channels, _ *history) {
		c.view.hidden = map[string]bool{"bob": true}
		c.Do(c.ShowAgain)
		c.run()
		c.answer(unavailable)
		expect(c.t, "told", flat(c.told()), "error#1 unavailable")
		expect(c.t, "the connection must end", c.unreadable, "")
	}, ""},
	"shown again while it is read, unreadable for one who had asked for none": {func(c *channels, h *history) {
		c.subscribe(2, "a", "", false)
		c.subscribe(3, "a", "", true)
		c.run()
		c.asked = c.asked[1:] // that of the first subscribe was given up
		c.view.hidden = map[string]bool{"bob": true}
		c.Do(c.ShowAgain)
		c.run()
		h.say("a")
		c.answer(unavailable)
		expect(c.t, "told", flat(c.told()), "error#3 unavailable, message a @1")
		expect(c.t, "the connection must end", c.unreadable, "")
	}, ""},
	"bye: the end is the answer": {func(c *channels, h *history) {
		h.say("a")
		c.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
	}, "bye closing @1"},
	"bye: events of one who has the roster": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		c.subscribe(2, "a", "", true)
		c.run()
		h.say("a")
		c.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
	}, "subscribed#2 a resumed, message a @1, bye closing @1"},
	"bye: a reset waits": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.subscribe(2, "b", "", false)
		c.run()
		h.Reset(at(5))
		c.run()
		h.say("a", "b")
		c.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
	}, "message b @7, bye closing"},
	"bye: a reset in the last batch": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		h.Reset(at(5))
		h.say("a")
		c.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
	}, "bye closing"},
	"bye: a reset waits, whose roster comes in parts": {func(c *channels, h *history) {
		c.answer(nil, "ada")
		c.run()
		h.Reset(at(5))
		c.run()
		c.answer(nil, "large1", "large2", "large3")
		out, _ := c.fill()
		expect(c.t, "the first part", short(c.t, []string{out}), "state a of 1 more")
		c.Bye(session.Ending{Reason: "revoked"})
	}, "bye revoked"},
	"ended without a word": {func(c *channels, h *history) {
		h.say("a")
		c.Bye(session.Ending{})
	}, ""},
	"revoked": {func(c *channels, h *history) {
		h.say("a")
		c.Bye(session.Ending{Reason: "revoked"})
	}, "bye revoked @0"},
}

// checkedWhileItIsRead has a client that has a roster ask for it again, and its rights
// checked before that is read.
func (c *channels) checkedWhileItIsRead() {
	c.answer(nil, "ada")
	c.run()
	c.view.hidden = map[string]bool{"bob": true}
	c.subscribe(2, "a", "", true)
	c.Do(c.ShowAgain)
	c.run()
}

// What a session that waits for a roster tells, and after it.
func TestRosters(t *testing.T) {
	for name, c := range rosterCases {
		for size, budget := range budgets {
			t.Run(name+"/"+size, func(t *testing.T) {
				h := newHistory(roomy)
				c2 := newChannels(t, h)
				c2.budget = budget
				c2.subscribe(1, "a", "", true)
				expect(t, "told before the roster", c2.told(), "")
				c.do(c2, h)
				expect(t, "told", flat(c2.told()), c.want)
				expect(t, "told again", c2.told(), "")
			})
		}
	}
}

// A large roster is sent in parts, between the events of other channels.
func TestRosterInParts(t *testing.T) {
	h := newHistory(roomy)
	c := newChannels(t, h)
	c.subscribe(1, "a", "", true)
	c.subscribe(2, "b", "", false)
	c.run()
	c.answer(nil, "large1", "large2", "large3")
	out, _ := c.fill()
	expect(t, "first", short(t, []string{out}), "subscribed#1 a fresh @0, state a of 1 more")
	h.say("b", "a")
	out, _ = c.fill()
	expect(t, "second", short(t, []string{out}), "message b @1, state a part 1 of 1 more")
	h.say("b")
	c.ping()
	out, _ = c.fill()
	expect(t, "third", short(t, []string{out}), "ping, message b @3, state a part 2 of 1 @0")
	expect(t, "then", c.told(), "message a @2")
}

// A part that has no room comes next, although nothing else does.
func TestPartThatHasNoRoom(t *testing.T) {
	h := newHistory(roomy)
	c := newChannels(t, h)
	c.subscribe(1, "a", "", true)
	c.subscribe(2, "b", "", false)
	c.run()
	c.answer(nil, "large1", "large2")
	c.fill()
	h.say("b")
	c.budget = session.Budget{Events: 1, Bytes: 1} // the message takes all of it
	expect(t, "told", c.told(), "message b @1 | state a part 1 of 1 @0")
}

// Of a roster in parts a client gets the members that its view shows, in parts that are
// numbered without a gap, of which the last one says so.
func TestRosterOfAViewInParts(t *testing.T) {
	stories(t, func(t *testing.T, r *rand.Rand) {
		c := newChannels(t, newHistory(roomy))
		c.view.hidden = map[string]bool{"nobody": true}
		var all, want, got []string
		for i := range r.IntN(9) {
			user := fmt.Sprint([]string{"small", "large"}[r.IntN(2)], i)
			if all = append(all, user); r.IntN(2) == 0 {
				c.view.hidden[user] = true
			} else {
				want = append(want, user)
			}
		}
		c.subscribe(1, "a", "", true)
		c.run()
		c.answer(nil, all...)
		parts := objects(t, c.run()...)[1:]
		for i, p := range parts {
			if p.Part != i || p.More != (i+1 < len(parts)) || (p.Cursor == "") != p.More || p.More && len(p.Members) == 0 {
				t.Errorf("of %d parts, number %d: %v", len(parts), i, p)
			}
			for _, m := range p.Members {
				got = append(got, m.UserID)
			}
		}
		if !slices.Equal(got, want) || len(parts) == 0 {
			t.Errorf("of %q, without %v: %q in %d parts", all, c.view.hidden, got, len(parts))
		}
	})
}

// Rosters get their turns, whichever is longer.
func TestRostersTakeTurns(t *testing.T) {
	c := newChannels(t, newHistory(roomy))
	c.subscribe(1, "a", "", true)
	c.subscribe(2, "b", "", true)
	c.run()
	c.answer(nil, "large1", "large2", "large3")
	c.answer(nil, "large4", "large5", "large6")
	expect(t, "told", flat(c.told()), "subscribed#1 a fresh @0, subscribed#2 b fresh @0, state a of 1 more, "+
		"state b of 1 more, state a part 1 of 1 more, state b part 1 of 1 more, state a part 2 of 1 @0, state b part 2 of 1 @0")
}

// A roster whose first parts were shown by other rights begins again.
func TestShowAgainInARoster(t *testing.T) {
	c := newChannels(t, newHistory(roomy))
	c.view.hidden = map[string]bool{"bob": true}
	c.subscribe(1, "a", "", true)
	c.run()
	c.answer(nil, "bob", "large1", "large2")
	c.fill()
	c.Do(func() {
		c.SetView(&view{hidden: map[string]bool{"large2": true}})
		c.ShowAgain()
	})
	expect(t, "told before it is read again", c.told(), "")
	c.answer(nil, "bob", "large1", "large2")
	expect(t, "told", flat(c.told()), "state a of 2 @0")
}

// A roster that is asked for again begins at its first part.
func TestRosterAskedForAgainInParts(t *testing.T) {
	c := newChannels(t, newHistory(roomy))
	c.subscribe(1, "a", "", true)
	c.subscribe(2, "b", "", true)
	c.run()
	c.answer(nil, "large1", "large2", "large3")
	c.answer(nil, "large4", "large5")
	c.fill()
	c.subscribe(3, "a", "", true)
	c.fill()
	if len(c.asked) != 1 {
		t.Fatalf("%d rosters were asked for", len(c.asked))
	}
	c.answer(nil, "large1", "large2")
	c.run()
	expect(t, "told", flat(short(t, c.fills)), "subscribed#1 a fresh @0, subscribed#2 b fresh @0, state a of 1 more, "+
		"state b of 1 more, subscribed#3 a resumed, state b part 1 of 1 @0, state a of 1 more, state a part 1 of 1 @0")
}

// A client that has a roster, and asks for another one that does not come in time, is
// told at the end what happened since the one it has.
func TestByeInARoster(t *testing.T) {
	h := newHistory(roomy)
	c := newChannels(t, h)
	c.subscribe(1, "a", "", true)
	c.run()
	c.answer(nil, "ada")
	c.run()
	c.subscribe(2, "a", "", true)
	c.run()
	h.move(backend.PresenceJoin, "a", "bob")
	c.answer(nil, "ada", "bob", "large1", "large2")
	out, _ := c.fill()
	expect(t, "in the middle", short(t, []string{out}), "subscribed#2 a resumed, state a of 3 more")
	h.move(backend.PresenceJoin, "a", "cy")
	c.Bye(session.Ending{Reason: "closing", Rest: h.Head()})
	expect(t, "at the end", flat(c.told()), "join a bob @1, join a cy @2, bye closing @2")
}

// A client whose roster made room for another one, which cannot be read, has none: it
// must come back.
func TestRosterThatMadeRoom(t *testing.T) {
	c := newChannels(t, newHistory(roomy))
	c.subscribe(1, "a", "", true)
	c.run()
	c.answer(nil, "large1", "large2")
	c.subscribe(2, "a", "", true)
	c.run()
	c.answer(unavailable)
	expect(t, "told", flat(c.told()), "")
	expect(t, "the connection must end", c.unreadable, "unavailable")
}

// The parts that are the same for two clients are there once.
func TestPartsAreShared(t *testing.T) {
	h := newHistory(roomy)
	first, second := newChannels(t, h), newChannels(t, h)
	r := first.roster("a", "large1", "large2")
	for _, c := range []*channels{first, second} {
		c.subscribe(1, "a", "", true)
		c.run()
		c.asked[0].done(r, nil)
		c.Fill(&c.buf, c.budget)
	}
	if a, b := first.buf.Part, second.buf.Part; len(a) == 0 || &a[0] != &b[0] {
		t.Error("each client has a copy of its own")
	}
}

// A roster that nobody waits for is not read to its end.
func TestRosterIsStopped(t *testing.T) {
	for name, do := range map[string]func(c *channels){
		"unsubscribed":     func(c *channels) { c.unsubscribe(2, "a") },
		"without presence": func(c *channels) { c.subscribe(2, "a", "", false) },
		"taken away": func(c *channels) {
			c.Do(func() { c.Restrict(c.Turn(), map[string]*wire.Error{"a": forbidden}) })
		},
		"ended": func(c *channels) { c.Bye(session.Ending{Reason: "rotate"}) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChannels(t, newHistory(roomy))
			c.subscribe(1, "a", "", true)
			c.run()
			do(c)
			if c.run(); !c.asked[0].stopped {
				t.Error("it is still read")
			}
		})
	}
}
