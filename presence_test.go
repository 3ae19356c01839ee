package realtime_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
)

// forever keeps a REN stream from rotating in the middle of a test.
var forever = &realtime.Options{StreamLife: 1000 * time.Hour, Limits: realtime.Limits{Rate: 1 << 20, Burst: 1 << 20}}

// tab opens a WebSocket of a user and joins a channel.
func (h *host) tab(user, channel string, more ...string) *socket {
	h.t.Helper()
	s := h.socket(get("/realtime", "Authorization", "Bearer "+user))
	s.ok(`"op":"join","channel":"` + channel + `"` + strings.Join(more, ""))
	return s
}

// presence follows the presence events.
func (h *host) presence() *ren { return h.ren(get("/ren?s=presence")) }

// story returns, in a bubble, what happened since it was asked last.
func story(s *ren) string {
	var list []string
	for _, ev := range s.rest() {
		var data struct {
			Metadata json.RawMessage
			Reason   string
		}
		_ = json.Unmarshal(ev.Data, &data)
		what := ev.User + " " + strings.TrimPrefix(ev.Type, "presence.")
		if ev.Name != "message" {
			what = ev.Name
		}
		if data.Metadata != nil && ev.Type != "presence.leave" {
			what += " " + string(data.Metadata)
		}
		if data.Reason != "" {
			what += " " + data.Reason
		}
		list = append(list, what)
	}
	return strings.Join(list, ", ")
}

func TestPresenceStories(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, c := range []struct {
		name string
		play func(h *host, told func(want string))
	}{
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
		{"leave is at once", func(h *host, told func(string)) {
			a := h.tab("ada", "room")
			a.ok(`"op":"leave","channel":"room"`)
			told("ada join, ada leave left")
			a.leave()
			time.Sleep(time.Minute)
			told("")
		}},
		{"leave ends one session", func(h *host, told func(string)) {
			a, b := h.tab("ada", "room"), h.tab("ada", "room")
			a.ok(`"op":"leave","channel":"room"`)
			told("ada join")
			b.ok(`"op":"leave","channel":"room"`)
			told("ada leave left")
		}},
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
		{"a grace that is over ends nothing that came later", func(h *host, told func(string)) {
			a := h.tab("ada", "room")
			a.drop()
			time.Sleep(10 * time.Second)
			b := h.tab("ada", "room")
			b.ok(`"op":"leave","channel":"room"`, `"op":"join","channel":"room"`)
			time.Sleep(time.Minute)
			told("ada join, ada leave left, ada join")
		}},
		{"revoked", func(h *host, told func(string)) {
			h.tab("ada", "room")
			if err := h.Revoke(ctx, "ada"); err != nil {
				h.t.Error(err)
			}
			synctest.Wait()
			told("ada join, ada leave closed")
		}},
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
				if err := h.Presence().Leave(ctx, "room", "ada", opts...); err != nil {
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
		{"channels are apart", func(h *host, told func(string)) {
			a := h.tab("ada", "room")
			a.ok(`"op":"join","channel":"other"`, `"op":"leave","channel":"room"`)
			told("ada join, ada join, ada leave left")
			members, err := h.Presence().Members(ctx, "other")
			if err != nil || len(members) != 1 {
				h.t.Errorf("%v %v", members, err)
			}
		}},
		{"leave of a stranger", func(h *host, told func(string)) {
			if err := h.Presence().Leave(ctx, "room", "nobody"); err != nil {
				h.t.Error(err)
			}
			told("")
		}},
	} {
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

func TestMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		h := start(t, open(), nil)
		members := func() []realtime.Member {
			t.Helper()
			list, err := h.Presence().Members(ctx, "room")
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		if got := members(); len(got) != 0 {
			t.Errorf("an empty channel has %v", got)
		}
		t0 := time.Now()
		for _, user := range []string{"eve", "ada", "Bob", "zoë", "ada2"} {
			h.join("room", user, map[string]string{"name": user})
		}
		time.Sleep(time.Second)
		h.join("room", "ada", nil) // without metadata now
		a := h.tab("eve", "room", `,"metadata":[ 1 ]`)
		t1 := time.Now()
		meta := func(s string) json.RawMessage { return json.RawMessage(s) }
		want := []realtime.Member{
			{UserID: "Bob", Metadata: meta(`{"name":"Bob"}`), LastSeen: t0},
			{UserID: "ada", LastSeen: t1},
			{UserID: "ada2", Metadata: meta(`{"name":"ada2"}`), LastSeen: t0},
			{UserID: "eve", Metadata: meta(`[1]`), LastSeen: t1},
			{UserID: "zoë", Metadata: meta(`{"name":"zoë"}`), LastSeen: t0},
		}
		if diff := cmp.Diff(want, members()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		seen := func() time.Time { return members()[3].LastSeen }
		for _, op := range []string{publish("room", "1"), `"op":"update","channel":"room","metadata":[1]`, `"op":"join","channel":"room","metadata":[1]`} {
			time.Sleep(time.Second)
			a.ok(op)
			if !seen().Equal(time.Now()) {
				t.Errorf("%s moved lastSeen to %v, not %v", op, seen(), time.Now())
			}
		}
		time.Sleep(time.Second)
		a.ok(publish("elsewhere", "1"), `"op":"ping"`)
		if seen().Equal(time.Now()) {
			t.Error("what happens elsewhere moves lastSeen")
		}
		var again realtime.Member
		b, err := json.Marshal(want[0])
		if err != nil || json.Unmarshal(b, &again) != nil || !cmp.Equal(want[0], again) {
			t.Errorf("%s %v became %+v", b, err, again)
		}
	})
}

// Promise 7: presence does not flap.
func TestThousandReloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), forever)
		watch := h.presence()
		rnd := rand.New(rand.NewPCG(1, 2))
		s := h.tab("ada", "room")
		for i := range 1000 {
			if i%2 == 0 {
				s.leave()
				time.Sleep(time.Duration(rnd.Int64N(int64(2900 * time.Millisecond))))
			} else {
				s.drop()
				time.Sleep(time.Duration(rnd.Int64N(int64(14900 * time.Millisecond))))
			}
			s = h.tab("ada", "room")
		}
		if got := story(watch); got != "ada join" {
			t.Errorf("told %q", got)
		}
		time.Sleep(15 * time.Second) // until the last drop is forgotten
		s.leave()
		time.Sleep(3 * time.Second)
		if got := story(watch); got != "ada leave closed" {
			t.Errorf("told %q in the end", got)
		}
	})
}
