package realtime_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A presenceStory plays with one room, and says what followers of presence were told.
type presenceStory struct {
	name string
	play func(h *host, told func(want string))
}

func TestPresenceStories(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(tabStories, graceStories, leaveInGraceStories, activityStories, leaseStories) {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, open(), forever)
			watch := h.presence()
			c.play(h, func(want string) {
				t.Helper()
				if got := story(watch); got != want {
					t.Errorf("told %q, want %q", got, want)
				}
			})
		})
	}
}

// What the tabs of a user are together.
var tabStories = []presenceStory{
	{"two tabs are one member", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		told("ada join")
		b := h.tab("ada", "room")
		told("")
		a.leave()
		time.Sleep(time.Minute)
		told("")
		b.leave()
		time.Sleep(3*time.Second - 1)
		told("")
		time.Sleep(time.Nanosecond)
		told("ada leave closed")
	}},
	{"tabs of one socket", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		a.ok(`"op":"join","channel":"room","cid":"` + tab2 + `"`)
		told("ada join")
		a.ok(`"op":"leave","channel":"room"`)
		told("")
		a.ok(`"op":"leave","channel":"room","cid":"` + tab2 + `"`)
		told("ada leave left")
	}},
	{"channels are apart", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		a.ok(`"op":"join","channel":"other"`, `"op":"leave","channel":"room"`)
		told("ada join, ada join, ada leave left")
		members, err := h.Presence().Members(h.t.Context(), "other")
		if err != nil || len(members) != 1 {
			h.t.Errorf("%v %v", members, err)
		}
	}},
	{"leave ends one session", func(h *host, told func(string)) {
		a, b := h.tab("ada", "room"), h.tab("ada", "room")
		a.ok(`"op":"leave","channel":"room"`)
		told("ada join")
		b.ok(`"op":"leave","channel":"room"`)
		told("ada leave left")
	}},
	{"leave is at once", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		a.ok(`"op":"leave","channel":"room"`)
		told("ada join, ada leave left")
		a.leave()
		time.Sleep(time.Minute)
		told("")
	}},
	{"leave of a stranger", func(h *host, told func(string)) {
		if err := h.Presence().Leave(h.t.Context(), "room", "nobody"); err != nil {
			h.t.Error(err)
		}
		told("")
	}},
	{"revoked", func(h *host, told func(string)) {
		h.tab("ada", "room")
		if err := h.Revoke(h.t.Context(), "ada"); err != nil {
			h.t.Error(err)
		}
		synctest.Wait()
		told("ada join, ada leave closed")
	}},
}

// Connections that end, and what comes back in time.
var graceStories = []presenceStory{
	{"a reload is no leave", func(h *host, told func(string)) {
		h.tab("ada", "room").leave()
		time.Sleep(3*time.Second - 1)
		h.tab("ada", "room")
		time.Sleep(time.Minute)
		told("ada join")
	}},
	{"a long reload is one", func(h *host, told func(string)) {
		h.tab("ada", "room").leave()
		time.Sleep(3 * time.Second)
		told("ada join, ada leave closed")
		h.tab("ada", "room")
		told("ada join")
	}},
	{"a broken connection", func(h *host, told func(string)) {
		h.tab("ada", "room").drop()
		time.Sleep(15*time.Second - 1)
		told("ada join")
		time.Sleep(time.Nanosecond)
		told("ada leave timeout")
	}},
	{"a phone in a tunnel", func(h *host, told func(string)) {
		h.tab("ada", "room").drop()
		time.Sleep(14 * time.Second)
		h.tab("ada", "room")
		time.Sleep(time.Minute)
		told("ada join")
	}},
	{"a grace that is over ends nothing that came later", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		a.drop()
		time.Sleep(10 * time.Second)
		b := h.tab("ada", "room")
		b.ok(`"op":"leave","channel":"room"`, `"op":"join","channel":"room"`)
		time.Sleep(time.Minute)
		told("ada join, ada leave left, ada join")
	}},
}

// A leave while a session waits for its client.
var leaveInGraceStories = []presenceStory{
	{"leave in the middle of a reload", func(h *host, told func(string)) {
		h.tab("ada", "room").leave()
		synctest.Wait() // the server has seen the end
		b := h.tab("ada", "room")
		b.ok(`"op":"leave","channel":"room"`)
		told("ada join, ada leave left")
		time.Sleep(time.Minute)
		told("")
	}},
	{"leave after a drop, without joining again", func(h *host, told func(string)) {
		h.tab("ada", "room").drop()
		b := h.socket(get("/realtime", "Authorization", "Bearer ada"))
		synctest.Wait()
		b.ok(`"op":"leave","channel":"room"`)
		told("ada join, ada leave left")
	}},
	{"leave of another tab leaves a broken one its grace", func(h *host, told func(string)) {
		h.tab("ada", "room").drop()
		synctest.Wait()
		b := h.tab("ada", "room", `,"cid":"`+tab2+`"`)
		b.ok(`"op":"leave","channel":"room","cid":"` + tab2 + `"`)
		told("ada join")
		time.Sleep(15 * time.Second)
		told("ada leave timeout")
	}},
	{"leave of one channel leaves another its grace", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		a.ok(`"op":"join","channel":"other"`)
		a.drop()
		synctest.Wait()
		h.tab("ada", "room").ok(`"op":"leave","channel":"room"`)
		told("ada join, ada join, ada leave left")
		time.Sleep(15 * time.Second)
		told("ada leave timeout")
	}},
}

// What members do.
var activityStories = []presenceStory{
	{"metadata: the last writer wins", func(h *host, told func(string)) {
		a := h.tab("ada", "room", `,"metadata":{"n":1}`)
		told(`ada join {"n":1}`)
		b := h.tab("ada", "room", `,"metadata":{"n":2}`)
		told(`ada update {"n":2}`)
		b.ok(`"op":"update","channel":"room","metadata":{"n":2}`)
		told("")
		a.ok(`"op":"update","channel":"room","metadata":{"n":3}`)
		told(`ada update {"n":3}`)
	}},
	{"a message changes no metadata", func(h *host, told func(string)) {
		a := h.tab("ada", "room", `,"metadata":{"n":1}`)
		h.tab("ada", "room", `,"metadata":{"n":2}`)
		told(`ada join {"n":1}, ada update {"n":2}`)
		a.ok(publish("room", `"hello"`))
		told("")
	}},
	{"a message brings nobody back", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		a.ok(`"op":"leave","channel":"room"`, publish("room", `"hello"`))
		told("ada join, ada leave left")
	}},
}

// Sessions that the server has begun.
var leaseStories = []presenceStory{
	{"lease", func(h *host, told func(string)) {
		h.join("room", "ada", nil)
		time.Sleep(90*time.Second - 1)
		told("ada join")
		time.Sleep(time.Nanosecond)
		told("ada leave timeout")
	}},
	{"lease renewed", func(h *host, told func(string)) {
		for range 10 {
			h.join("room", "ada", nil)
			time.Sleep(89 * time.Second)
		}
		told("ada join")
		time.Sleep(time.Second)
		told("ada leave timeout")
	}},
	{"the server leaves only its own session", func(h *host, told func(string)) {
		a := h.tab("ada", "room")
		h.join("room", "ada", nil)
		h.join("room", "ada", nil, realtime.FromClient(tab2))
		leave := func(opts ...realtime.EventOption) {
			if err := h.Presence().Leave(h.t.Context(), "room", "ada", opts...); err != nil {
				h.t.Error(err)
			}
		}
		leave()
		leave()
		a.ok(`"op":"leave","channel":"room"`)
		told("ada join")
		leave(realtime.FromClient(tab2))
		told("ada leave left")
	}},
	{"a socket outlives the lease of the server's session", func(h *host, told func(string)) {
		h.join("room", "ada", nil)
		a := h.tab("ada", "room")
		time.Sleep(5 * time.Minute)
		told("ada join")
		a.drop()
		time.Sleep(15 * time.Second)
		told("ada leave timeout")
	}},
}
