package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// A user has so many connections, of whatever kind, and no more; others, and
// those who have no name, do not count.
func TestConnectionsOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Connections: 3}})
		ren, ws := get("/ren", "Authorization", asAda), get("/realtime", append(upgrade, "Authorization", asAda)...)
		stream := h.ren(ren)
		first := h.socket(get("/realtime", "Authorization", asAda))
		late := h.dial(get("/realtime?auth=hello"))
		late.send(`{"op":"hello","cid":"` + tab1 + `","token":"ada"}`)
		late.want("hello")

		full := func() {
			t.Helper()
			for _, ask := range []request{ren, ws} {
				if status, f := h.refused(ask); status != http.StatusTooManyRequests || f.Code != "too_many" || !*f.Retry {
					t.Errorf("%s: %d %+v", ask.path, status, f)
				}
			}
			one := h.dial(get("/realtime?auth=hello"))
			one.send(`{"op":"hello","cid":"` + tab1 + `","token":"ada"}`)
			if code, last := one.closed(); code != 4503 || last[0].Code != "too_many" || !*last[0].Retry || *last[1].RetryMs < 1000 {
				t.Errorf("closed with %d, last %+v", code, last)
			}
		}
		full()
		for range 5 {
			h.ren(get("/ren"))
			h.socket(get("/realtime"))
		}
		h.ren(get("/ren", "Authorization", "Bearer bob"))
		full()

		// Each way of ending makes room for one.
		for _, end := range []func(){stream.cut, first.leave, late.drop} {
			end()
			synctest.Wait()
			h.ren(ren)
			full()
		}
		// A connection that turns out to be of another user counts as that user's.
		other := h.dial(get("/realtime?auth=hello"))
		other.send(`{"op":"hello","cid":"` + tab1 + `","token":"cid"}`)
		other.want("hello")
	})
}

// A connection counts for the user of its hello, not for the one of its request.
func TestConnectionThatChangesItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Connections: 1}})
		s := h.dial(get("/realtime", "Authorization", asAda))
		s.send(`{"op":"hello","cid":"` + tab1 + `","token":"bob"}`)
		s.want("hello")
		h.ren(get("/ren", "Authorization", asAda))
		if status, _ := h.refused(get("/ren", "Authorization", "Bearer bob")); status != http.StatusTooManyRequests {
			t.Errorf("bob: %d", status)
		}
		s.drop()
		synctest.Wait()
		h.ren(get("/ren", "Authorization", "Bearer bob"))
	})
	bubble(t, "anonymous", func(t *testing.T) {
		p := open()
		inner := p.Authenticate
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			id, err := inner(r)
			if id.User == "nobody" {
				id.User = ""
			}
			return id, err
		}
		h := start(t, p, &realtime.Options{Limits: realtime.Limits{Connections: 1}})
		for range 3 {
			s := h.dial(get("/realtime", "Authorization", asAda))
			s.send(`{"op":"hello","cid":"` + tab1 + `","token":"nobody"}`)
			s.want("hello")
		}
	})
}

// A bare EventSource would give up for good on any status but 200.
func TestEventSourceIsAskedToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Connections: 1}})
		h.ren(get("/ren", "Authorization", asAda))
		away := func(r request, reason string) {
			t.Helper()
			s := h.renStalled(r)
			s.pump()
			if typ := s.resp.Header.Get("Content-Type"); typ != "text/event-stream" {
				t.Errorf("%s: the answer is %s", reason, typ)
			}
			if bye := s.next(); bye.Name != "ren.bye" || bye.Reason != reason || bye.ID != "" ||
				bye.Retry < time.Second || bye.Retry != time.Duration(bye.RetryMs)*time.Millisecond {
				t.Errorf("%s %s with retry %v, want a bye because of %s", bye.Name, bye.Raw, bye.Retry, reason)
			}
			s.ended()
		}
		source := func(header ...string) request { return get("/ren", append(header, "Accept", "text/event-stream")...) }
		away(source("Authorization", asAda), "too_many")
		away(source("Authorization", "Bearer later"), "unavailable")
		for _, ask := range []request{source("Authorization", "Bearer bad"), source("Authorization", asAda, "X-Ren-Client", tab1)} {
			if status, _ := h.refused(ask); status == http.StatusOK {
				t.Errorf("%+v is answered with 200", ask)
			}
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		away(source(), "closing")
	})
}

// A user has so many operations a second, over however many connections.
func TestRateOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Rate: 100, Burst: 100, UserRate: 20, UserBurst: 50}})
		as := func(user string) *socket { return h.socket(get("/realtime", "Authorization", user)) }
		tabs := []*socket{as(asAda), as(asAda), as(asAda)}
		allowed := func() (n int) {
			for i := 0; ; i++ {
				o := tabs[i%len(tabs)].call(`"op":"ping"`)
				if o.Event != "ok" {
					if o.Code != "rate_limited" || !*o.Retry {
						t.Errorf("%s", o.raw)
					}
					return n
				}
				n++
			}
		}
		if n := allowed(); n != 50 {
			t.Errorf("%d operations at once, want 50", n)
		}
		time.Sleep(time.Second)
		if n := allowed(); n != 20 {
			t.Errorf("%d operations in a second, want 20", n)
		}
		bob, nobody, other := as("Bearer bob"), as(""), as("")
		for range 40 {
			bob.ok(`"op":"ping"`)
			nobody.ok(`"op":"ping"`)
			other.ok(`"op":"ping"`)
		}
	})
}

// The rates are generous by default: ten connections at full speed.
func TestRateOfAUserByDefault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for range 10 {
			s := h.socket(get("/realtime", "Authorization", asAda))
			for range 60 {
				s.ok(`"op":"ping"`)
			}
		}
	})
}

// crowded is a backend whose rosters take time to read.
type crowded struct {
	backend.Backend
	takes    time.Duration
	readings atomic.Int64
}

func (b *crowded) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if kind == "member" {
		b.readings.Add(1)
		select {
		case <-time.After(b.takes):
		case <-ctx.Done():
		}
	}
	return b.Backend.List(ctx, kind, group)
}

// However many ask for the roster of a large channel however often, reading it
// takes a fifth of the time at most, and all get one that is new enough.
func TestRostersAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &crowded{Backend: realtime.NewMemory(), takes: 10 * time.Millisecond}
		h := start(t, open(), &realtime.Options{Backend: b, Limits: noLimits.Limits})
		const asking = 20
		ask := subscribe("room") + `,"presence":true`
		var sockets []*socket
		for range asking {
			sockets = append(sockets, h.socket(get("/realtime")))
		}
		began := time.Now()
		var all sync.WaitGroup
		var got atomic.Int64
		for _, s := range sockets {
			all.Go(func() {
				for range 50 {
					s.ok(ask)
					s.want("presence.state")
					got.Add(1)
				}
			})
		}
		all.Wait()
		took := time.Since(began)
		if busy := time.Duration(b.readings.Load()) * b.takes; busy > took/5+2*b.takes || got.Load() != asking*50 {
			t.Errorf("%d rosters took %d readings: %v of %v", got.Load(), b.readings.Load(), busy, took)
		}

		// Somebody who asks while a reading is under way gets the next one: it knows
		// who joined in between.
		first, second := sockets[0], sockets[1]
		time.Sleep(time.Minute)
		first.ask(ask)
		time.Sleep(b.takes / 2)
		h.join("room", "ada", nil)
		second.ask(ask)
		for {
			o := second.next()
			if o.Event != "presence.state" {
				continue
			}
			if len(o.Members) != 1 {
				t.Errorf("%s", o.raw)
			}
			break
		}
		// Another channel does not wait.
		third := sockets[2]
		began = time.Now()
		third.answer(third.ask(subscribe("elsewhere") + `,"presence":true`))
		third.want("presence.state")
		if time.Since(began) != b.takes {
			t.Errorf("another channel took %v", time.Since(began))
		}
	})
}

// The largest roster is as well formed as any.
func TestLargeRoster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		for i := range 500 {
			h.join("room", fmt.Sprint("user", i), json.RawMessage(`{ "name" : "\u2028<&>" }`))
		}
		synctest.Wait()
		s := h.socket(get("/realtime"))
		s.ok(subscribe("room") + `,"presence":true`)
		o := s.want("presence.state")
		want, err := h.Presence().Members(t.Context(), "room")
		if err != nil || len(o.Members) != 500 {
			t.Fatalf("%d members, %v", len(o.Members), err)
		}
		for i, m := range o.Members {
			if m.UserID != want[i].UserID || string(m.Metadata) != `{"name":"\u2028<&>"}` {
				t.Fatalf("%+v, want %+v", m, want[i])
			}
		}
	})
}

// Many connections come and go: what is counted per user is forgotten.
func TestUsersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Presence: realtime.PresenceOptions{CloseGrace: time.Second, DropGrace: time.Second}})
		for i := range 50 {
			s := h.tab(fmt.Sprint("user", i), "room")
			if i%2 == 0 {
				s.ws.Close(websocket.StatusNormalClosure, "")
				s.box.end()
			} else {
				s.drop()
			}
		}
		synctest.Wait()
		if users, waiting := h.Remembered(); users != 0 || waiting != 50 {
			t.Errorf("%d users, %d sessions that wait", users, waiting)
		}
		time.Sleep(time.Minute)
		if users, waiting := h.Remembered(); users != 0 || waiting != 0 {
			t.Errorf("%d users, %d sessions that wait after a minute", users, waiting)
		}
	})
}

// What a growing message has already costs who begins to follow it as many operations as a
// page of history of that size.
func TestGrowingMessagesAreCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Limits: realtime.Limits{Rate: 1, Burst: 10}})
		for id, size := range map[string]int{"small": 60 << 10, "large": 200 << 10} {
			s := h.stream(id)
			defer s.Close()
			say(t, s, strings.Repeat("x", size))
		}
		synctest.Wait()
		for id, left := range map[string]int{"small": 9, "large": 6} {
			s := h.socket(get("/realtime"))
			s.ask(streamOp(id))
			synctest.Wait()
			s.rest()
			n := 0
			for s.call(`"op":"ping"`).Event == "ok" {
				n++
			}
			if n != left {
				t.Errorf("%s: %d operations are left, want %d", id, n, left)
			}
		}
	})
}
