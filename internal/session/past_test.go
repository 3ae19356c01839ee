package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// What is read of the past of a channel is what a list has of it, whatever happens
// between two pages, and it says whether that is all.
func TestPastModel(t *testing.T) {
	stories(t, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r)
		for range 60 {
			for range r.IntN(6) {
				w.happen()
			}
			w.page(t, modelChannels[r.IntN(len(modelChannels))])
		}
	})
}

// page reads the whole past of a channel, and compares it with what is held.
func (w *world) page(t *testing.T, channel string) {
	before := ring.Newest
	if w.r.IntN(2) == 0 {
		before = at(w.r.Uint64N(w.Head().Seq + 2))
	}
	v := &view{}
	for {
		held, n := w.held(channel, before), 1+w.r.IntN(4)
		p := session.ReadPast(w.Ring, channel, before, session.Want{Messages: n}, v)
		var got, want []backend.Position
		for _, e := range slices.Backward(p.Entries) {
			got = append(got, e.Pos)
		}
		for _, rec := range held[max(0, len(held)-n):] {
			want = append(want, rec.Pos)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d of %s before %v: %v, want %v", n, channel, before, got, want)
		}
		if more := len(held) > n; more != (p.End == ring.NoEnd) {
			t.Errorf("%d of %d are left, and the end is %q", len(held)-n, len(held), p.End)
		}
		if p.End != ring.NoEnd {
			w.ends(t, channel, p.End)
			return
		}
		before = p.Next
		for range w.r.IntN(2) {
			w.happen()
		}
	}
}

// ends checks what was said of the past before what is held.
func (w *world) ends(t *testing.T, channel string, end ring.End) {
	first := slices.IndexFunc(w.log, func(rec *backend.Logged) bool {
		return rec.Event.Channel == channel && rec.Event.Type == backend.Message
	})
	kept := max(w.from, len(w.log)-modelLimits.Records)
	missing := w.lost || first >= 0 && first < kept
	if missing && end != ring.Gone {
		t.Errorf("%s has lost messages, and the end is %q", channel, end)
	}
	forgotten := kept > modelLimits.Records // that nothing of it was evicted
	if !missing && !forgotten && end != ring.Beginning {
		t.Errorf("%s has lost no messages, and the end is %q", channel, end)
	}
}

// A page holds what a view shows, and looks for it beyond what that hides.
func TestPastOfAView(t *testing.T) {
	h := newHistory(roomy)
	user := func(i int) string { return []string{"ada", "bob"}[i%2] }
	for i := range 300 {
		h.add(backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "a", User: user(i)})
	}
	before, total := ring.Newest, 0
	for {
		p := session.ReadPast(h.Ring, "a", before, session.Want{Messages: 40}, &view{hidden: map[string]bool{"bob": true}})
		for _, e := range p.Entries {
			if e.Event.User != "ada" {
				t.Fatalf("%v is shown", e.Pos)
			}
		}
		total += len(p.Entries)
		if p.End != ring.NoEnd {
			break
		}
		if before = p.Next; len(p.Entries) != 40 {
			t.Fatalf("a page of %d", len(p.Entries))
		}
	}
	if total != 150 {
		t.Errorf("%d messages of 150", total)
	}
	// A view that shows nothing does not have everything looked at.
	for range 5000 {
		h.add(backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "a", User: "bob"})
	}
	p := session.ReadPast(h.Ring, "a", ring.Newest, session.Want{Messages: 1}, &view{hidden: map[string]bool{"bob": true}})
	if len(p.Entries) != 0 || p.End != ring.NoEnd || p.Next != at(5300-4096+1) {
		t.Errorf("%d messages, end %q, next %v", len(p.Entries), p.End, p.Next)
	}
}

// A page ends before its bytes are exceeded, except by its first message.
func TestPastOfFewBytes(t *testing.T) {
	h := newHistory(roomy)
	h.say("a", "a", "a", "a", "a")
	size := len(wire.Channel(h.log[0]))
	for bytes, want := range map[int]int{1: 1, size: 1, size + 1: 1, 2 * size: 2, 2*size + 1: 2, 3*size + 10: 3, 100 * size: 5} {
		p := session.ReadPast(h.Ring, "a", ring.Newest, session.Want{Messages: 10, Bytes: bytes}, nil)
		if len(p.Entries) != want || (p.End == ring.NoEnd) != (want < 5) {
			t.Errorf("with %d bytes for messages of %d: %d messages, end %q", bytes, size, len(p.Entries), p.End)
		}
	}
}

// The rights that count are those of when the page is written.
func TestPageIsShownByTheViewOfThen(t *testing.T) {
	h := newHistory(roomy)
	c := newChannels(t, h)
	var list []session.PageMessage
	for _, user := range []string{"ada", "bob"} {
		rec := h.add(backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "a", User: user})
		list = append(list, session.PageMessage{Event: &rec.Event, Encoded: wire.Channel(rec)})
	}
	c.SetView(&view{hidden: map[string]bool{"ada": true}})
	ref := int64(3)
	c.Do(func() { c.History(&ref, session.Page{Channel: "a", Messages: list, Before: "1.1"}) })
	expect(t, "page", c.run()[0], `{"event":"history","ref":3,"channel":"a","messages":[`+string(list[1].Encoded)+`],"before":"1.1"}`)
}

// A subscription that rewinds gets the last messages that are shown with its answer, up
// to where its events go on.
func TestRewind(t *testing.T) {
	h := newHistory(roomy)
	for _, user := range []string{"ada", "bob", "ada", "bob", "ada", "bob"} {
		h.add(backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "a", User: user})
		h.put("kv")
	}
	for n, want := range map[int]string{
		1: "subscribed#1 a fresh @12 with @9 then @9",
		2: "subscribed#1 a fresh @12 with @5 @9 then @5",
		9: "subscribed#1 a fresh @12 with @1 @5 @9 then start",
	} {
		c := newChannels(t, h)
		c.SetView(&view{hidden: map[string]bool{"bob": true}})
		c.rewind(1, "a", "", false, n, 0)
		expect(t, fmt.Sprint(n), c.told(), want)
	}
	c := newChannels(t, h)
	c.rewind(1, "a", wire.Cursor(at(7)), false, 2, 0)
	expect(t, "after a cursor", c.told(), "subscribed#1 a resumed @7 with @5 @7 then @5, message a ada @9, message a bob @11")
	c.rewind(2, "a", "", false, 2, 0)
	expect(t, "again", c.told(), "subscribed#2 a resumed with @9 @11 then @9")
	c.rewind(3, "b", "garbage", false, 5, 0)
	expect(t, "without any message", c.told(), "subscribed#3 b reset unknown @12 with then start")
	c.rewind(4, "c", "garbage", false, 1, 0)
	h.say("c", "c")
	expect(t, "after a reset", c.told(), "subscribed#4 c reset unknown @14 with @14 then @14")
}

// A rewind with a time has what has come since then.
func TestRewindByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(roomy)
		for range 5 {
			h.say("a")
			time.Sleep(time.Second)
		}
		for age, want := range map[time.Duration]string{
			time.Millisecond:        "with then @6",
			time.Second:             "with @5 then @5",
			2500 * time.Millisecond: "with @4 @5 then @4",
			time.Minute:             "with @2 @3 @4 @5 then @2",
		} {
			c := newChannels(t, h)
			c.rewind(1, "a", "", false, 4, age)
			expect(t, fmt.Sprint(age), c.told(), "subscribed#1 a fresh @5 "+want)
		}
	})
}

// What comes with an answer waits for the roster with it, and with the rights of then.
func TestRewindWithRoster(t *testing.T) {
	h := newHistory(roomy)
	h.add(backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: "a", User: "ada"})
	h.say("a")
	c := newChannels(t, h)
	c.rewind(1, "a", "", true, 5, 0)
	c.run()
	h.say("a")
	c.Do(func() { c.SetView(&view{hidden: map[string]bool{"ada": true}}) })
	c.answer(nil)
	expect(t, "with a roster", c.told(), "subscribed#1 a fresh @2 with @2 then start, state a of 0 @2, message a @3")
	c.rewind(2, "a", "", true, 1, 0)
	expect(t, "again", c.told(), "subscribed#2 a resumed with @3 then @3")
	if len(c.asked) > 0 {
		t.Error("the roster is read again")
	}
	c.subscribe(3, "a", "", true)
	c.rewind(4, "a", "", true, 1, 0)
	expect(t, "while a roster is read", c.told(), "")
	c.answer(nil)
	c.run()
	c.answer(nil)
	expect(t, "after it", c.told(), "subscribed#4 a resumed with @3 then @3, state a of 0 @3")
	c.subscribe(5, "a", "", false)
	c.rewind(6, "a", "", true, 1, 0)
	expect(t, "without a roster before", c.told(), "subscribed#5 a resumed")
	c.answer(nil)
	expect(t, "with the first roster", c.told(), "subscribed#6 a resumed with @3 then @3, state a of 0 @3")
}

// Where older messages are stored than those of the history, the answer says where they end,
// unless a reset is due, and says what is missing.
func TestRewindWithOlder(t *testing.T) {
	h := newHistory(roomy)
	h.say("a")
	c := newChannels(t, h)
	c.subscribe(1, "a", "", false)
	c.run()
	rewind := func(ref int64) {
		back := session.Rewind{Back: wire.Back{Messages: 5}, Older: true}
		c.Do(func() { c.Subscribe(wire.Op{Ref: &ref, Channel: "a"}, back, c.Turn()) })
	}
	rewind(2)
	expect(t, "all of the history", c.told(), "subscribed#2 a resumed with @1 then @1")
	h.Reset(at(5))
	rewind(3)
	expect(t, "before a reset", flat(c.told()), "subscribed#3 a resumed with then evicted, reset a backend @5")
}

// The past that waits for a roster does not come where it, or its channel, is no longer
// allowed.
func TestRewindIsTakenAway(t *testing.T) {
	h := newHistory(roomy)
	h.say("a")
	c := newChannels(t, h)
	c.rewind(1, "a", "", true, 5, 0)
	c.run()
	c.Do(func() { c.Restrict(c.Turn(), map[string]*wire.Error{"a": forbidden}) })
	expect(t, "the channel", c.told(), "subscribed#1 a fresh @1 with then evicted, unsubscribed a forbidden @1")

	c = newChannels(t, h)
	c.rewind(1, "a", "", true, 5, 0)
	c.run()
	early := c.Turn()
	c.rewind(3, "a", "", true, 5, 0)
	c.run()
	c.subscribe(4, "b", "", true)
	c.subscribe(5, "c", "", false)
	expect(t, "without a roster", c.told(), "subscribed#5 c fresh @1")
	if got := c.Rewinding(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q rewind", got)
	}
	c.Do(func() { c.Withhold(c.Turn(), map[string]*wire.Error{"a": nil, "c": forbidden, "d": forbidden}) })
	c.Do(func() { c.Withhold(early-1, map[string]*wire.Error{"a": forbidden}) }) // the turn that allowed the first
	c.answer(nil)
	expect(t, "the past", c.told(), "subscribed#1 a fresh @1 with then evicted, state a of 0 @1")
	c.answer(nil)
	expect(t, "of another channel", c.told(), "subscribed#4 b fresh @1, state b of 0 @1")
	c.answer(nil)
	expect(t, "what was allowed later", c.told(), "subscribed#3 a resumed with @1 then start, state a of 0 @1")
}

// What is older than the history may be is not read, though nothing has come since.
func TestPastIsBoundedByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(roomy)
		h.say("a")
		time.Sleep(roomy.Age + time.Second)
		if p := session.ReadPast(h.Ring, "a", ring.Newest, session.Want{Messages: 1}, nil); len(p.Entries) > 0 || p.End != ring.Gone {
			t.Errorf("%d messages, end %q", len(p.Entries), p.End)
		}
		if p := session.ReadPast(h.Ring, "b", ring.Newest, session.Want{Messages: 1}, nil); p.End != ring.Beginning {
			t.Errorf("of a channel without messages: end %q", p.End)
		}
	})
}
