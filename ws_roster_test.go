package realtime_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// seat makes n members of a channel, in the order of their ids, each with so many
// bytes of metadata.
func (h *host) seat(channel string, n, size int) {
	h.t.Helper()
	for i := range n {
		h.join(channel, fmt.Sprintf("user%05d", i), strings.Repeat("m", size-2))
	}
	synctest.Wait()
}

// dripping opens a WebSocket that reads slowly.
func (h *host) dripping(pause time.Duration, r request) *socket {
	h.t.Helper()
	s := h.dialStalled(r)
	s.drip(pause)
	s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
	s.want("hello")
	return s
}

// collector is a client that puts rosters together, as docs/protocol.md says, and
// checks what it says of their parts.
type collector struct {
	t       *testing.T
	part    int // the next one; 0 while none is under way
	members []realtime.Member
	story   []string
}

func (c *collector) take(objects []object) {
	c.t.Helper()
	for _, o := range objects {
		switch o.Event {
		case "presence.state":
			c.state(o)
		case "message":
			c.tell("message " + string(o.Data))
		case "presence.join", "presence.update", "presence.leave":
			if c.part > 0 {
				c.t.Errorf("%s in the middle of a roster", o.raw)
			}
			c.tell(o.Event + " " + o.UserID)
		case "error", "bye":
			c.tell(strings.TrimSpace(o.Event + " " + o.Code + o.Reason))
		default:
			if o.Event == "ok" {
				c.part = 0 // unsubscribed
			}
			c.tell(strings.TrimSpace(o.Event + " " + o.State))
		}
	}
}

func (c *collector) tell(what string) {
	if n := len(c.story); n > 0 && c.story[n-1] == what {
		return
	}
	c.story = append(c.story, what)
}

func (c *collector) state(o object) {
	c.t.Helper()
	if o.Part != c.part && o.Part != 0 {
		c.t.Errorf("part %d, want %d", o.Part, c.part)
	}
	if o.Part == 0 {
		if c.members = nil; c.part > 0 {
			c.tell("unfinished")
		}
		c.tell("roster")
	}
	_, list, _ := strings.Cut(o.raw, `"members":[`)
	if end := strings.LastIndexByte(list, ']'); end > 64<<10 && len(o.Members) > 1 {
		c.t.Errorf("a part with %d bytes of members", end)
	}
	if len(o.Members) == 0 && (o.More || o.Part > 0) || o.More != (o.Cursor == "") {
		c.t.Errorf("part %d has %d members, more %v, cursor %q", o.Part, len(o.Members), o.More, o.Cursor)
	}
	c.members = append(c.members, o.Members...)
	if c.part = o.Part + 1; !o.More {
		c.part = 0
		c.tell(fmt.Sprintf("of %d", len(c.members)))
	}
}

func (c *collector) want(story string) {
	c.t.Helper()
	if got := strings.Join(c.story, ", "); got != story {
		c.t.Errorf("told  %s\n want %s", got, story)
	}
}

const withPresence = `,"presence":true`

// A roster comes in parts that bear the limit, and all of it; what happens in its
// channel meanwhile comes after it.
func TestRosterInParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		h.seat("room", 700, 1024)
		s := h.dripping(10*time.Millisecond, get("/realtime"))
		s.ok(subscribe("lobby"))
		s.ask(subscribe("room") + withPresence)
		time.Sleep(25 * time.Millisecond)
		h.join("room", "late", nil)
		h.publish("room", 1)
		h.publish("lobby", 2)
		noError(t, h.Presence().Leave(t.Context(), "room", "user00000"))
		time.Sleep(time.Second)
		c := collector{t: t}
		c.take(s.rest())
		c.want("subscribed fresh, roster, message 2, of 700, presence.join late, message 1, presence.leave user00000")
		if n := len(c.members); c.members[0].UserID != "user00000" || c.members[n-1].UserID != "user00699" {
			t.Errorf("from %s to %s", c.members[0].UserID, c.members[n-1].UserID)
		}
	})
}

// With Policy.See each client gets a roster of whom it may see, in parts that are
// numbered and end as those of others.
func TestRosterInPartsWithSee(t *testing.T) {
	t.Parallel()
	last := func(ev realtime.RenEvent) (n int) {
		_, _ = fmt.Sscanf(ev.User, "user%d", &n)
		return n
	}
	for name, c := range map[string]struct {
		see  func(n int) bool
		want int
	}{
		"all":             {func(int) bool { return true }, 700},
		"none":            {func(int) bool { return false }, 0},
		"one":             {func(n int) bool { return n == 333 }, 1},
		"the first":       {func(n int) bool { return n < 300 }, 300},
		"the last":        {func(n int) bool { return n >= 300 }, 400},
		"every other":     {func(n int) bool { return n%2 == 0 }, 350},
		"not the last":    {func(n int) bool { return n != 699 }, 699},
		"not the first":   {func(n int) bool { return n != 0 }, 699},
		"a gap of parts":  {func(n int) bool { return n < 100 || n > 600 }, 199},
		"one of each end": {func(n int) bool { return n == 0 || n == 699 }, 2},
	} {
		bubble(t, name, func(t *testing.T) {
			p := open()
			p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool { return c.see(last(ev)) }
			h := start(t, p, nil)
			h.seat("room", 700, 1024)
			s := h.socket(get("/realtime"))
			s.ask(subscribe("room") + withPresence)
			got := collector{t: t}
			got.take(s.rest())
			got.want(fmt.Sprintf("subscribed fresh, roster, of %d", c.want))
			for i, m := range got.members {
				n := last(realtime.RenEvent{User: m.UserID})
				if !c.see(n) || i > 0 && got.members[i-1].UserID >= m.UserID || len(m.Metadata) != 1024 {
					t.Fatalf("member %d is %s", i, m.UserID)
				}
			}
		})
	}
}

// rosterWorld has a client that is in the middle of reading a roster.
type rosterWorld struct {
	*host
	*testing.T
	s    *socket
	b    *backendtest.Faulty
	may  rights
	hide atomic.Bool
}

func readingARoster(t *testing.T) *rosterWorld {
	w := &rosterWorld{T: t}
	p := w.may.policy()
	p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool {
		return !w.hide.Load() || ev.Resource != "presence" || ev.User[len(ev.User)-1]%2 == 0
	}
	w.b = backendtest.NewFaulty(realtime.NewMemory())
	w.host = start(t, p, &realtime.Options{Backend: w.b})
	w.seat("room", 400, 1024)
	w.s = w.dripping(50*time.Millisecond, get("/realtime", "Authorization", asAda))
	w.s.ask(subscribe("room") + withPresence)
	time.Sleep(175 * time.Millisecond) // some parts have come
	return w
}

var middlesOfARoster = map[string]struct {
	do   func(w *rosterWorld)
	want string
	code int
}{
	"nothing": {func(*rosterWorld) {}, "of 400, message 1", 0},
	"subscribed again": {func(w *rosterWorld) { w.s.ask(subscribe("room") + withPresence) },
		"subscribed resumed, unfinished, roster, of 400, message 1", 0},
	"subscribed without presence": {func(w *rosterWorld) { w.s.ask(subscribe("room")) },
		"subscribed resumed, message 1", 0},
	"unsubscribed": {func(w *rosterWorld) { w.s.ask(`"op":"unsubscribe","channel":"room"`) }, "ok", 0},
	"unsubscribed and back": {func(w *rosterWorld) {
		w.s.ask(`"op":"unsubscribe","channel":"room"`)
		w.s.ask(subscribe("room") + withPresence)
		time.Sleep(75 * time.Millisecond)
	}, "ok, subscribed fresh, roster, of 400, message 1", 0},
	"left by a member": {func(w *rosterWorld) {
		noError(w.T, w.Presence().Leave(w.Context(), "room", "user00007"))
	}, "of 400, presence.leave user00007, message 1", 0},
	"taken away": {func(w *rosterWorld) {
		w.may.take("room", errNotAllowed)
		w.recheck("ada")
	}, "unsubscribed", 0},
	"rechecked": {func(w *rosterWorld) { w.recheck("ada") }, "unfinished, roster, of 400, message 1", 0},
	"hidden": {func(w *rosterWorld) {
		w.hide.Store(true)
		w.recheck("ada")
	}, "unfinished, roster, of 200, message 1", 0},
	"reset": {func(w *rosterWorld) { w.b.NewEpoch() }, "of 400, roster, reset, of 400, message 1", 0},
	"closed": {func(w *rosterWorld) {
		w.publish("room", 0)
		go w.Close(context.Background())
		time.Sleep(10 * time.Millisecond)
	}, "message 0, bye closing", 1012},
	"revoked": {func(w *rosterWorld) { noError(w.T, w.Revoke(w.Context(), "ada")) }, "bye revoked", 4403},
}

// Changes while a roster is being read.
func TestMiddleOfARoster(t *testing.T) {
	t.Parallel()
	for name, c := range middlesOfARoster {
		bubble(t, name, func(t *testing.T) {
			w := readingARoster(t)
			c.do(w)
			if c.code == 0 {
				w.publish("room", 1)
			}
			time.Sleep(3 * time.Second)
			got := collector{t: t}
			got.take(w.s.rest())
			got.want("subscribed fresh, roster, " + c.want)
			if c.code != 0 {
				if code, _ := w.s.closed(); code != c.code {
					t.Errorf("closed with %d", code)
				}
			}
		})
	}
}

// While a roster is read, everything else of the connection goes on, and no more
// than one reading is under way, however often it is asked for.
func TestReadingARosterHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.See = func(realtime.Identity, realtime.RenEvent) bool { return true }
		b := &crowded{Backend: realtime.NewMemory(), takes: 2 * time.Second}
		h := start(t, p, &realtime.Options{Backend: b})
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("lobby"))
		first, second := s.ask(subscribe("room")+withPresence), s.ask(subscribe("room")+withPresence)
		synctest.Wait()
		h.publish("lobby", 1)
		h.publish("room", 2)
		s.ask(publish("lobby", "3"))
		synctest.Wait()
		var got []string
		for _, o := range s.rest() {
			got = append(got, o.Event+string(o.Data))
		}
		if slices.Sort(got); !slices.Equal(got, []string{"message1", "message3", "ok"}) {
			t.Errorf("while the roster is read: %s", got)
		}
		for _, ref := range []int64{first, second} {
			if o := s.want("subscribed"); *o.Ref != ref {
				t.Errorf("%s", o.raw)
			}
			s.want("presence.state")
		}
		s.data(1)

		h.recheck("ada") // which has the roster sent again, and does not wait for it
		h.publish("lobby", 4)
		h.publish("room", 5)
		s.data(1)
		s.nothing()
		time.Sleep(4 * time.Second)
		s.want("presence.state")
		s.data(1)
	})
}

// A client that has a roster keeps it where another one cannot be read, unless it
// would be wrong.
func TestRosterCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(h *host, s *socket)
		want string
	}{
		"asked for again": {func(_ *host, s *socket) { s.ask(subscribe("room") + withPresence) },
			"error unavailable, message 1, presence.join bob"},
		"rechecked": {func(h *host, _ *socket) { h.recheck("ada") }, "bye unavailable"},
	} {
		bubble(t, name, func(t *testing.T) {
			p := open()
			p.See = func(realtime.Identity, realtime.RenEvent) bool { return true }
			b := &unreadable{Backend: realtime.NewMemory()}
			h := start(t, p, &realtime.Options{Backend: b})
			s := h.socket(get("/realtime", "Authorization", asAda))
			s.ok(subscribe("room") + withPresence)
			s.want("presence.state")
			b.broken.Store(true)
			c.do(h, s)
			synctest.Wait()
			h.publish("room", 1)
			h.join("room", "bob", nil)
			time.Sleep(time.Second)
			got := collector{t: t}
			got.take(s.rest())
			got.want(c.want)
		})
	}
}

// The figures of promise 24, without the time: 20,000 members of 1 KiB each come
// complete, and between their parts the events of another channel.
func TestLargestRoster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := figure(5_000, 20_000)
		h := start(t, open(), nil)
		h.seat("room", n, 1024)
		s := h.dripping(time.Millisecond, get("/realtime"))
		s.ok(subscribe("lobby"))
		s.ask(subscribe("room") + withPresence)
		for i := range 40 {
			h.publish("lobby", i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		members, part, lag, most := 0, -1, 0, 0
		for _, o := range s.rest() {
			switch o.Event {
			case "presence.state":
				if part++; o.Part != part || o.More != (o.Cursor == "") {
					t.Errorf("part %d, want %d", o.Part, part)
				}
				members += len(o.Members)
				lag++
			case "message":
				most, lag = max(most, lag), 0
			}
		}
		if members != n || most > 3 {
			t.Errorf("%d of %d members; %d parts without an event of the other channel", members, n, most)
		}
	})
}

// A hundred clients that read slowly share a roster of 3 MiB, also where each has
// asked at another time, and somebody has come meanwhile.
func TestMemoryOfSlowReadersOfARoster(t *testing.T) {
	for name, change := range map[string]bool{"quiet": false, "busy": true} {
		bubble(t, name, func(t *testing.T) {
			h := start(t, open(), nil)
			h.seat("room", 3000, 1024)
			before := inUse()
			for i := range 40 {
				s := h.dialStalled(get("/realtime"))
				s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
				s.send(`{` + subscribe("room") + withPresence + `}`)
				synctest.Wait()
				for range 3 { // and no more
					if _, _, err := s.ws.Read(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if change {
					h.join("room", fmt.Sprint("a", i), nil)
				}
				time.Sleep(time.Millisecond)
			}
			if grown := (int64(inUse()) - int64(before)) >> 20; grown > 16 {
				t.Errorf("40 slow readers take %d MiB", grown)
			}
		})
	}
}
