package realtime_test

import (
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

// What is no member is refused.
func TestMemberOfBadJSON(t *testing.T) {
	for _, text := range []string{`{"userId":1}`, `{"lastSeen":"now"}`, `[]`, `{`} {
		var m realtime.Member
		if err := json.Unmarshal([]byte(text), &m); err == nil {
			t.Errorf("%s became %+v", text, m)
		}
	}
}

// A join that names no client is a session of its server: another server has its own, and
// only the last Leave ends the membership.
func TestSessionsOfServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := clustered(t, 2, open(), nil)
		watch := hosts[0].presence()
		story(watch) // its hello
		for _, h := range hosts {
			h.join("room", "ada", nil)
		}
		for i, want := range []string{"ada join", "ada leave left"} {
			noError(t, hosts[i].Presence().Leave(t.Context(), "room", "ada"))
			if got := story(watch); got != want {
				t.Errorf("after %d servers have left: %q, want %q", i+1, got, want)
			}
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
