package realtime_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// asked is a policy with History as a right of its own, or not, that denies the verbs in
// denied, and notes which verbs it was asked about.
type asked struct {
	mu     sync.Mutex
	verbs  []realtime.Verb
	denied []realtime.Verb
}

func (a *asked) policy(askHistory bool) realtime.Policy {
	p := open()
	p.AskHistory = askHistory
	p.Allow = func(_ context.Context, _ realtime.Identity, action realtime.Action) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.verbs = append(a.verbs, action.Verb)
		if slices.Contains(a.denied, action.Verb) {
			return errNotAllowed
		}
		return nil
	}
	return p
}

// take returns the verbs since it was called last, in order and once each.
func (a *asked) take() []realtime.Verb {
	a.mu.Lock()
	defer a.mu.Unlock()
	verbs := a.verbs
	a.verbs = nil
	slices.Sort(verbs)
	return slices.Compact(verbs)
}

// The right to the past of a channel is none to the channel, and nobody is asked about it
// who asks for no past, or where it is no right of its own.
func TestWSHistoryIsNoSubscription(t *testing.T) {
	for _, askHistory := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var a asked
			h := start(t, a.policy(askHistory), nil)
			h.publish("room", 1)
			synctest.Wait() // the node has read it
			s := h.socket(get("/realtime", "Authorization", asAda))
			want := func(what string, verbs ...realtime.Verb) {
				t.Helper()
				synctest.Wait()
				if got := a.take(); !slices.Equal(got, verbs) {
					t.Errorf("AskHistory %v: %s: the policy was asked about %q, want %q", askHistory, what, got, verbs)
				}
			}
			s.ok(subscribe("room"))
			want("a subscription", realtime.VerbSubscribe)
			rewound := []realtime.Verb{realtime.VerbSubscribe}
			if askHistory {
				rewound = []realtime.Verb{realtime.VerbHistory, realtime.VerbSubscribe}
			}
			s.ok(subscribe("other") + `,"rewind":5`)
			want("a rewind", rewound...)
			noError(t, h.Recheck(t.Context(), "ada"))
			want("a Recheck", realtime.VerbSubscribe)
			s.nothing()
			a.denied = []realtime.Verb{realtime.VerbSubscribe}
			for _, op := range []string{subscribe("secret"), subscribe("secret") + `,"rewind":5`} {
				if o := s.call(op); o.Code != "forbidden" {
					t.Errorf("AskHistory %v: %s is answered with %s", askHistory, op, o.raw)
				}
			}
			h.publish("secret", 2)
			s.nothing()
		})
	}
}

// So it is for a rewind that waits for its roster when rights are checked.
func TestWSRewindThatWaitsIsNoHistory(t *testing.T) {
	var a asked
	hangs(t, a.policy(false), func(t *testing.T, h *host, b *hanging) {
		h.publish("room", 1)
		s := h.socket(get("/realtime"))
		b.hang("List member")
		s.ask(subscribe("room") + `,"presence":true,"rewind":5`)
		synctest.Wait()
		noError(t, h.Recheck(t.Context(), ""))
		if verbs := a.take(); !slices.Equal(verbs, []realtime.Verb{realtime.VerbSubscribe}) {
			t.Errorf("the policy was asked about %q", verbs)
		}
		b.release()
		s.want("subscribed")
		s.want("presence.state")
	})
}

// A message that waits for its client's subscription to begin is not published when the
// client's rights have ended before.
func TestWSPublishThatWaitsIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		other := h.socket(get("/realtime"))
		other.ok(subscribe("room"))
		for _, message := range []string{publish("room", "1"), publish("room", "2") + `,"ephemeral":true`} {
			s := h.dialStalled(get("/realtime", "Authorization", asAda))
			for _, op := range []string{`"op":"hello","cid":"` + tab1 + `"`, subscribe("room"), message} {
				s.send("{" + op + "}")
				synctest.Wait() // the hello is being written
			}
		}
		time.Sleep(time.Second)
		before := h.Cursor()
		noError(t, h.Revoke(t.Context(), "ada"))
		synctest.Wait()
		if after := h.Cursor(); after != before {
			t.Error("a message was published after Revoke")
		}
		other.nothing()
	})
}

// What fails since its connection has been ended is no error of the server's.
func TestWSEndedOperationIsNoError(t *testing.T) {
	hangs(t, expiring(time.Second), func(t *testing.T, h *host, b *hanging) {
		s := h.socket(get("/realtime"))
		b.hang("Append")
		s.ask(publish("room", "1"))
		if code, _ := s.closed(); code != 4401 {
			t.Errorf("closed with %d", code)
		}
		synctest.Wait()
		if log := h.logs.String(); strings.Contains(log, "an operation of a client failed") {
			t.Errorf("logged: %s", log)
		}
	})
}

// A message moves the lastSeen of the tab that has sent it, and not of another one that
// shares its connection.
func TestWSPublishTouchesItsOwnTab(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Authenticate = func(*http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: "ada", AnyUser: true}, nil
		}
		h := start(t, p, nil)
		s := h.socket(get("/realtime"))
		s.ok(`"op":"join","channel":"room"`, `"op":"join","channel":"room","userId":"bob","cid":"`+tab2+`"`)
		joined := time.Now()
		time.Sleep(time.Minute)
		s.ok(publish("room", "1"))
		members, err := h.Presence().Members(t.Context(), "room")
		if err != nil || len(members) != 2 || !members[0].LastSeen.Equal(time.Now()) || !members[1].LastSeen.Equal(joined) {
			t.Errorf("%+v, %v", members, err)
		}
	})
}

// The application's pings come in time, though the answer to the last one of the protocol
// may still come.
func TestWSHeartbeatIsShorterThanPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, way := range []realtime.Hijack{realtime.HijackNever, realtime.HijackAlways} {
			h := start(t, open(), &realtime.Options{Hijack: way, Heartbeat: 4 * time.Second})
			s := h.socket(get("/realtime"))
			began := time.Now()
			for i := range 10 {
				ping, ok := s.any(patience)
				// The first one may come a little early: see driver.Node.FirstPing.
				late := time.Since(began) - time.Duration(i+1)*4*time.Second
				if !ok || !ping.isPing() || late > 0 || late < -100*time.Millisecond {
					t.Fatalf("%d: ping %d is %s, %v late", way, i, ping.raw, late)
				}
			}
		}
	})
}

// Nobody is asked any longer about the rights of a client that has gone.
func TestRecheckOfAClientThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p slowRights
		h := start(t, p.policy(), nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"))
		p.takes.Store(int64(time.Minute))
		began := time.Now()
		time.AfterFunc(time.Second, s.drop)
		noError(t, h.Recheck(t.Context(), "ada"))
		if took := time.Since(began); took != time.Second {
			t.Errorf("Recheck took %v", took)
		}
	})
}
