package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// presence records what the server's log says of a channel's members.
func (h *host) presence(channel string) *tape {
	log := record(h.t, func(ctx context.Context) eventSeq {
		return h.Events(ctx, realtime.EventMatch{Resource: "presence", Channel: channel})
	}, func(ev realtime.RenEvent) string {
		return strings.TrimPrefix(ev.Type, "presence.") + ":" + ev.User + string(ev.Data)
	})
	log.want(h.t, "") // has begun
	return log
}

// profile is the metadata of a member.
type profile struct {
	Name string `json:"name"`
}

func TestPresence(t *testing.T) {
	bubble(t, "join, update, leave", presenceJoinUpdateLeave)
	bubble(t, "refusals", presenceRefusals)
	bubble(t, "as another user", presenceAsAnotherUser)

	// Nobody hears of reconnections: neither the log nor other clients.
	bubble(t, "across connections", presenceAcrossConnections)
	bubble(t, "an update that is cut before its answer is not lost", presenceUpdateIsCut)
	bubble(t, "leave and join in a hurry", presenceInAHurry)
	bubble(t, "a check of rights, and a roster that cannot be read", presenceAfterUnreadable)
	bubble(t, "rights that change while it is cut", presenceAwayWhileRightsChange)
	bubble(t, "a join, then a leave while cut", presenceLeavesWhileCut)
	bubble(t, "a join whose context ends is withdrawn", presenceJoinWithdrawn)
}

// hiding has a client of ada's follow the members of room, bob and cy. Of these bob is hidden
// from it while hidden is true.
func hiding(t *testing.T) (h *host, hidden *atomic.Bool, seen *tape) {
	hidden = new(atomic.Bool)
	p := byToken()
	p.See = func(_ realtime.Identity, ev realtime.RenEvent) bool { return !hidden.Load() || ev.User != "bob" }
	h = start(t, p, nil)
	for _, user := range []string{"bob", "cy"} {
		must(t, h.Presence().Join(t.Context(), "room", user, nil))
	}
	rt := h.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) { return "ada", nil }})
	seen = changes(t, rt, "room")
	seen.want(t, "join:bob join:cy")
	return h, hidden, seen
}

// A client has the roster by its new rights in the end, though it could not be read when
// they were checked.
func presenceAfterUnreadable(t *testing.T) {
	h, hidden, seen := hiding(t)
	hidden.Store(true)
	h.backend.unreadable.Store(true)
	must(t, h.Recheck(t.Context(), "ada"))
	time.Sleep(time.Second)
	h.backend.unreadable.Store(false)
	time.Sleep(time.Minute)
	seen.want(t, "leave:bob")
}

// A client whose connection breaks before rights change has the roster by the new ones
// when it is back.
func presenceAwayWhileRightsChange(t *testing.T) {
	h, hidden, seen := hiding(t)
	for _, change := range []string{"leave:bob", "join:bob"} {
		h.listen.Cut()
		hidden.Store(!hidden.Load())
		must(t, h.Recheck(t.Context(), "ada"))
		time.Sleep(10 * time.Second)
		seen.want(t, change)
	}
}

func presenceJoinUpdateLeave(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	a, b := h.realtime(nil), h.realtime(nil)
	room := a.Presence("room")
	must(t, room.Join(t.Context(), "ada", profile{"Ada"}))
	who := changes(t, b, "room")
	who.want(t, `join:ada{"name":"Ada"}`)
	must(t, room.Update(t.Context(), profile{"Countess"}))
	must(t, room.Update(t.Context(), profile{"Countess"}))
	must(t, b.Presence("room").Join(t.Context(), "bob", nil))
	who.want(t, `update:ada{"name":"Countess"} join:bob`)
	synctest.Wait()
	if got := names(room.Members()); got != "ada bob" {
		t.Errorf("members %s", got)
	}
	must(t, room.Leave(t.Context()))
	who.want(t, `leave:ada{"name":"Countess"}/left`)
	must(t, room.Leave(t.Context()))
	if room.Members() != nil {
		t.Error("members of a channel nobody follows")
	}
	a.Close()
	b.Close()
	time.Sleep(4 * time.Second) // an orderly close is 3 s of grace
	if members, err := h.Presence().Members(t.Context(), "room"); err != nil || len(members) > 0 {
		t.Error(members, err)
	}
}

func presenceRefusals(t *testing.T) {
	h := start(t, byToken(), nil)
	rt := h.realtime(&client.RealtimeOptions{Token: func(context.Context) (string, error) { return "ada", nil }})
	room := rt.Presence("room")
	log := h.presence("room")
	var refused *client.Error
	for code, err := range map[string]error{
		"not_joined":    room.Update(t.Context(), 1),
		"user_mismatch": room.Join(t.Context(), "bob", nil),
		"too_large":     room.Join(t.Context(), "ada", strings.Repeat("x", 2000)),
	} {
		if !errors.As(err, &refused) || refused.Code != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
	must(t, room.Join(t.Context(), "", 1))
	if err := room.Update(t.Context(), strings.Repeat("x", 2000)); !errors.As(err, &refused) || refused.Code != "too_large" {
		t.Error(err)
	}
	if err := room.Join(t.Context(), "ada", make(chan int)); err == nil {
		t.Error("joined with a channel")
	}
	h.listen.Cut()
	time.Sleep(time.Minute)
	log.want(t, `join:ada{"metadata":1}`)
}

func presenceAsAnotherUser(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	log := h.presence("room")
	must(t, rt.Presence("room").Join(t.Context(), "ada", nil))
	must(t, rt.Presence("room").Join(t.Context(), "bob", nil))
	log.want(t, `join:ada{} leave:ada{"reason":"left"} join:bob{}`)
}

func presenceAcrossConnections(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	a, b := h.realtime(nil), h.realtime(nil)
	log, who := h.presence("room"), changes(t, b, "room")
	must(t, a.Presence("room").Join(t.Context(), "ada", profile{"Ada"}))
	for range 20 {
		h.listen.Cut()
		time.Sleep(14 * time.Second)
	}
	log.want(t, `join:ada{"metadata":{"name":"Ada"}}`)
	who.want(t, `join:ada{"name":"Ada"}`)
	must(t, a.Presence("room").Leave(t.Context()))
	log.want(t, `leave:ada{"metadata":{"name":"Ada"},"reason":"left"}`)
}

func presenceUpdateIsCut(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	log := h.presence("room")
	must(t, rt.Presence("room").Join(t.Context(), "ada", 1))
	log.take()
	h.listen.Stall()
	updated := later(func() error { return rt.Presence("room").Update(t.Context(), 2) })
	synctest.Wait()
	h.listen.Cut()
	h.listen.Resume()
	must(t, <-updated)
	log.want(t, `update:ada{"metadata":2}`)
}

func presenceInAHurry(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	room, log := rt.Presence("room"), h.presence("room")
	must(t, room.Join(t.Context(), "ada", 1))
	log.take()
	left := later(func() error { return room.Leave(t.Context()) })
	synctest.Wait()
	must(t, room.Join(t.Context(), "ada", 2))
	must(t, <-left)
	time.Sleep(time.Minute)
	log.want(t, `leave:ada{"metadata":1,"reason":"left"} join:ada{"metadata":2}`)
	if got := names(h.members("room")); got != "ada" {
		t.Errorf("members %q", got)
	}
}

func presenceLeavesWhileCut(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	room := rt.Presence("room")
	must(t, room.Join(t.Context(), "ada", 1))
	h.listen.Cut()
	must(t, room.Leave(t.Context()))
	time.Sleep(time.Minute)
	if got := names(h.members("room")); got != "" {
		t.Errorf("members %q", got)
	}
}

func presenceJoinWithdrawn(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	must(t, rt.Presence("room").Join(t.Context(), "ada", 1))
	h.listen.Stall()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	joined := later(func() error { return rt.Presence("hall").Join(short, "ada", 1) })
	if err := rt.Presence("room").Update(short, 2); err != context.DeadlineExceeded {
		t.Error(err)
	}
	if err := <-joined; err != context.DeadlineExceeded {
		t.Error(err)
	}
	h.listen.Resume()
	time.Sleep(2 * time.Minute)
	if got := h.members("hall"); len(got) != 0 {
		t.Errorf("members %v", got)
	}
	if got := h.members("room"); len(got) != 1 || string(got[0].Metadata) != "1" {
		t.Errorf("members %v", got)
	}
}

func (h *host) members(channel string) []realtime.Member {
	h.t.Helper()
	synctest.Wait()
	list, err := h.Presence().Members(context.Background(), channel)
	must(h.t, err)
	return list
}

func names(members []realtime.Member) string {
	var list []string
	for _, m := range members {
		list = append(list, m.UserID)
	}
	return strings.Join(list, " ")
}

// joinAll has users join from the host.
func joinAll(h *host, users ...string) {
	for _, user := range users {
		must(h.t, h.Presence().Join(h.t.Context(), "room", user, nil))
	}
}

// leaveAll has users leave from the host.
func leaveAll(h *host, users ...string) {
	for _, user := range users {
		must(h.t, h.Presence().Leave(h.t.Context(), "room", user))
	}
}

func TestRoster(t *testing.T) {

	bubble(t, "the difference after a reset", rosterAfterAReset)
	bubble(t, "what was missed inside of the history", rosterWithinTheHistory)
	bubble(t, "a loop that comes later, on a subscription that goes on", rosterOfALaterLoop)
	bubble(t, "presence comes and goes while messages go on", rosterWhileMessagesGoOn)
	bubble(t, "a slow loop hears the net change", rosterOfASlowLoop)
}

func rosterAfterAReset(t *testing.T) {
	h := start(t, realtime.AllowAll(), &realtime.Options{History: realtime.History{Events: 2}})
	rt := h.realtime(nil)
	joinAll(h, "ada", "bob", "cyd")
	who := changes(t, rt, "room")
	who.want(t, "join:ada join:bob join:cyd")
	h.listen.Cut()
	leaveAll(h, "ada", "cyd")
	joinAll(h, "dan", "cyd")
	must(t, h.Presence().Join(t.Context(), "room", "bob", 1))
	time.Sleep(10 * time.Second)
	who.want(t, "leave:ada update:bob1 join:dan")
}

func rosterWithinTheHistory(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	joinAll(h, "ada", "bob")
	who := changes(t, rt, "room")
	who.take()
	h.listen.Cut()
	leaveAll(h, "ada")
	joinAll(h, "cyd")
	time.Sleep(10 * time.Second)
	who.want(t, "leave:ada/left join:cyd")
}

func rosterOfALaterLoop(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	msgs := messages(t, rt, "room")
	msgs.take()
	joinAll(h, "ada")
	h.publish("room", "a")
	msgs.want(t, "a")
	h.listen.Cut()
	joinAll(h, "bob")
	who := changes(t, rt, "room") // so it resumes, and with presence
	time.Sleep(10 * time.Second)
	who.want(t, "join:ada join:bob")
	changes(t, rt, "room").want(t, "join:ada join:bob")
	msgs.want(t, "")
}

func rosterWhileMessagesGoOn(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	msgs := messages(t, rt, "room")
	for i := range 3 {
		joinAll(h, "ada")
		who := changes(t, rt, "room")
		who.want(t, "join:ada")
		who.stop()
		who.take()
		leaveAll(h, "ada")
		h.publish("room", fmt.Sprint(i))
		msgs.want(t, fmt.Sprint(i))
	}
}

func rosterOfASlowLoop(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	rt := h.realtime(nil)
	joinAll(h, "ada", "bob")
	loop, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	for c, err := range rt.Presence("room").Events(loop) {
		if err != nil {
			break
		}
		if got = append(got, wordOfChange(c)); len(got) == 2 {
			for range 3000 {
				joinAll(h, "cyd", "dan")
				leaveAll(h, "bob", "dan")
				joinAll(h, "bob")
			}
			leaveAll(h, "ada")
			synctest.Wait()
			time.AfterFunc(time.Minute, cancel)
		}
	}
	if s := strings.Join(got, " "); s != "join:ada join:bob join:cyd leave:ada/left" {
		t.Errorf("the loop was told %s", s)
	}
}
