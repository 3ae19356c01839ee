package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// tokens is a policy whose tokens say "user,lifetime,team", as of when they are
// shown. Only the red team may go to the channel "red", and see the user "red".
func tokens() realtime.Policy {
	p := open()
	inner := p.Authenticate
	p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		id, err := inner(r)
		if part := strings.Split(id.User, ","); len(part) == 3 {
			id.User, id.Claims = part[0], part[2]
			if life, err := time.ParseDuration(part[1]); err == nil {
				id.Expires = time.Now().Add(life)
			}
			id.AnyUser = part[2] == "any"
		}
		return id, err
	}
	p.Allow = func(_ context.Context, id realtime.Identity, a realtime.Action) error {
		if a.Name == "red" && id.Claims != "red" {
			return errNotAllowed
		}
		return nil
	}
	p.See = func(id realtime.Identity, ev realtime.RenEvent) bool { return ev.User != "red" || id.Claims == "red" }
	return p
}

func renew(token string) string { return `"op":"hello","token":"` + token + `"` }

func (h *host) greet(token string) *socket {
	h.t.Helper()
	s := h.dial(get("/realtime?auth=hello"))
	s.send(`{"op":"hello","cid":"` + tab1 + `","token":"` + token + `"}`)
	s.hello = s.want("hello")
	return s
}

// expiry returns what a client is told of the end of its identity.
func expiry(in *int64) time.Duration {
	if in == nil {
		return -1
	}
	return time.Duration(*in) * time.Millisecond
}

// A connection whose token is renewed goes on until the new one expires, with all
// that it has, and without a gap.
func TestRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, tokens(), forever)
		watch := h.presence()
		began := time.Now()
		s := h.greet("ada,10m,")
		if got := expiry(s.hello.ExpiresIn); got != 10*time.Minute {
			t.Errorf("the hello says %v", got)
		}
		s.ok(subscribe("room"), `"op":"join","channel":"room"`)
		n := 0
		for range 5 {
			time.Sleep(9 * time.Minute)
			h.publish("room", n)
			if got := s.data(1); got != fmt.Sprint(n) {
				t.Errorf("got %s, want %d", got, n)
			}
			n++
			if o := s.call(renew("ada,10m,")); o.Event != "ok" || expiry(o.ExpiresIn) != 10*time.Minute {
				t.Errorf("renewed: %s", o.raw)
			}
			s.ok(`"op":"ping"`)
		}
		if code, last := s.closed(); code != 4401 || last[0].Reason != "expired" || time.Since(began) != 55*time.Minute {
			t.Errorf("closed with %d %+v after %v", code, last, time.Since(began))
		}
		if got := story(watch); got != "ada join" {
			t.Errorf("told %q", got)
		}
	})
	bubble(t, "to one that does not expire, and back", renewalOfOneThatDoesNotExpire)
	bubble(t, "an identity without an expiry", renewalWithoutExpiry)
	bubble(t, "a stream says when it ends, and again when it is checked", renewalOfAStream)
}

func renewalOfOneThatDoesNotExpire(t *testing.T) {
	h := start(t, tokens(), nil)
	s := h.greet("ada,10m,")
	if o := s.call(renew("ada,never,")); o.Event != "ok" || o.ExpiresIn != nil {
		t.Errorf("%s", o.raw)
	}
	time.Sleep(24 * time.Hour)
	began := time.Now()
	if o := s.call(renew("ada,90s,")); expiry(o.ExpiresIn) != 90*time.Second {
		t.Errorf("%s", o.raw)
	}
	if code, _ := s.closed(); code != 4401 || time.Since(began) != 90*time.Second {
		t.Errorf("closed with %d after %v", code, time.Since(began))
	}
}

func renewalWithoutExpiry(t *testing.T) {
	h := start(t, tokens(), nil)
	if s := h.greet("ada"); s.hello.ExpiresIn != nil {
		t.Errorf("%s", s.hello.raw)
	}
	if s := h.ren(get("/ren", "Authorization", asAda)); s.hello.ExpiresIn != nil {
		t.Errorf("%s", s.hello.Raw)
	}
}

func renewalOfAStream(t *testing.T) {
	h := start(t, tokens(), nil)
	s := h.ren(get("/ren", "Authorization", "Bearer ada,3m,"))
	if got := expiry(s.hello.ExpiresIn); got != 3*time.Minute {
		t.Errorf("the hello says %v", got)
	}
	time.Sleep(time.Minute)
	h.recheck("ada")
	if ev := s.next(); ev.Name != "ren.hello" || expiry(ev.ExpiresIn) != 2*time.Minute {
		t.Errorf("%s %s", ev.Name, ev.Raw)
	}
}

// A refused renewal changes nothing.
func TestRenewalRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, first, token, code string
		retry                    bool
	}{
		{"none", "ada,10m,", "", "bad_request", false},
		{"unknown", "ada,10m,", "bad", "unauthorized", false},
		{"expired", "ada,10m,", "expired", "expired", false},
		{"already over", "ada,10m,", "ada,0s,", "expired", false},
		{"undecided", "ada,10m,", "later", "unavailable", true},
		{"of another user", "ada,10m,", "bob,1h,", "user_mismatch", false},
		{"of nobody", "ada,10m,", ",1h,", "user_mismatch", false},
		{"of somebody, for nobody", ",10m,", "bob,1h,", "user_mismatch", false},
		{"with a bad user", "ada,10m,", "a\\u0000,1h,", "internal", false},
	} {
		bubble(t, c.name, func(t *testing.T) {
			h := start(t, tokens(), nil)
			began := time.Now()
			s := h.greet(c.first)
			s.ok(subscribe("room"))
			time.Sleep(time.Minute)
			if o := s.call(renew(c.token)); o.Code != c.code || *o.Retry != c.retry {
				t.Errorf("%s, want %s", o.raw, c.code)
			}
			h.publish("room", 1)
			if got := s.data(1); got != "1" {
				t.Error(got)
			}
			if code, _ := s.closed(); code != 4401 || time.Since(began) != 10*time.Minute {
				t.Errorf("closed with %d after %v", code, time.Since(began))
			}
		})
	}
}

// A client that asks again and again is slowed down, and one that guesses is cut.
func TestRenewalLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, tokens(), &realtime.Options{Limits: realtime.Limits{Connections: 1}})
		s := h.greet("ada,10m,")
		for i := range 61 {
			if o := s.call(renew("ada,10m,")); (o.Code == "rate_limited") != (i == 60) {
				t.Fatalf("%d: %s", i, o.raw)
			}
		}
		if users, _ := h.Remembered(); users != 1 {
			t.Errorf("%d users", users)
		}
		if status, _ := h.refused(get("/ren", "Authorization", asAda)); status != http.StatusTooManyRequests {
			t.Errorf("a second connection of one user: %d", status)
		}
		s.leave()
		synctest.Wait()
		if users, _ := h.Remembered(); users != 0 {
			t.Errorf("%d users", users)
		}
		s = h.greet("ada,10m,")
		for range 20 {
			s.ask(renew("bad"))
		}
		if code, _ := s.closed(); code != 1008 {
			t.Errorf("closed with %d", code)
		}
	})
}

// Rights are those of the new identity, in everything.
func TestRenewalRechecks(t *testing.T) {
	bubble(t, "less", renewalToLess)
	bubble(t, "more", renewalToMore)
	bubble(t, "no longer any user", renewalWithoutAnyUser)
}

func renewalToLess(t *testing.T) {
	h := start(t, tokens(), nil)
	h.join("room", "red", nil)
	synctest.Wait()
	s := h.greet("ada,10m,red")
	s.ok(subscribe("red"), `"op":"join","channel":"red"`, subscribe("room")+`,"presence":true`)
	if o := s.want("presence.state"); len(o.Members) != 1 {
		t.Errorf("%s", o.raw)
	}
	ref := s.ask(renew("ada,10m,blue"))
	var told []string
	for {
		o := s.next()
		told = append(told, strings.TrimSpace(fmt.Sprint(o.Event, " ", o.Channel, " ", len(o.Members))))
		if o.Ref != nil && *o.Ref == ref {
			break
		}
	}
	for _, o := range s.rest() {
		told = append(told, strings.TrimSpace(fmt.Sprint(o.Event, " ", o.Channel, " ", len(o.Members))))
	}
	slices.Sort(told) // the roster comes when it has been read
	if got := strings.Join(told, ", "); got != "left red 0, ok  0, presence.state room 0, unsubscribed red 0" {
		t.Errorf("told %s", got)
	}
	if o := s.call(subscribe("red")); o.Code != "forbidden" {
		t.Errorf("%s", o.raw)
	}
	h.publish("red", "secret")
	h.publish("room", "secret", realtime.AsUser("red"))
	h.publish("room", 1)
	if got := s.data(1); got != "1" {
		t.Errorf("got %s", got)
	}
	if members, _ := h.Presence().Members(t.Context(), "red"); len(members) != 0 {
		t.Errorf("present: %v", members)
	}
}

func renewalToMore(t *testing.T) {
	h := start(t, tokens(), nil)
	s := h.greet("ada,10m,blue")
	if o := s.call(subscribe("red")); o.Code != "forbidden" {
		t.Errorf("%s", o.raw)
	}
	s.ok(subscribe("room"), renew("ada,10m,red"), subscribe("red"))
	h.publish("red", 1)
	h.publish("room", 2, realtime.AsUser("red"))
	if got := s.data(2); got != "1 2" {
		t.Errorf("got %s", got)
	}
}

func renewalWithoutAnyUser(t *testing.T) {
	h := start(t, tokens(), nil)
	s := h.greet("ada,10m,any")
	s.ok(`"op":"join","channel":"room","userId":"bob"`, `"op":"join","channel":"room","userId":"ada"`)
	s.ask(renew("ada,10m,"))
	if o := s.want("left"); o.UserID != "bob" || o.Code != "user_mismatch" {
		t.Errorf("%s", o.raw)
	}
	s.want("ok")
	if members, _ := h.Presence().Members(t.Context(), "room"); len(members) != 1 || members[0].UserID != "ada" {
		t.Errorf("present: %v", members)
	}
}

// The policy sees the request that opened the connection, with the new token.
func TestRenewalRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		p := open()
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			c, _ := r.Cookie("session")
			got = append(got, fmt.Sprint(r.URL, " ", r.Host, " ", c.Value, " ", r.Header.Get("Authorization")))
			r.Header.Set("Authorization", "changed")
			return realtime.Identity{User: c.Value}, nil
		}
		h := start(t, p, nil)
		s := h.socket(get("/realtime?x=1", "Cookie", "session=ada"))
		for _, token := range []string{"one", "two"} {
			s.ok(renew(token))
		}
		want := "/realtime?x=1 host.test ada , /realtime?x=1 host.test ada Bearer one, /realtime?x=1 host.test ada Bearer two"
		if strings.Join(got, ", ") != want {
			t.Errorf("asked about\n%s, want\n%s", strings.Join(got, ", "), want)
		}
	})
}

// Promise 27: who needs up to 30 s for new credentials is not seen leaving; who
// gets none is gone 5 s after that.
func TestExpiredStaysPresent(t *testing.T) {
	for _, late := range []time.Duration{3 * time.Second, 30 * time.Second} {
		bubble(t, fmt.Sprint(late), func(t *testing.T) {
			h := start(t, tokens(), nil)
			watch := h.presence()
			for range 5 {
				s := h.greet("ada,1m,")
				s.ok(`"op":"join","channel":"room"`)
				if code, _ := s.closed(); code != 4401 {
					t.Fatalf("closed with %d", code)
				}
				time.Sleep(late)
			}
			if got := story(watch); got != "ada join" {
				t.Errorf("told %q", got)
			}
			h.greet("ada,1m,").leave()
			time.Sleep(6 * time.Second)
			if got := story(watch); late > 29*time.Second && got != "ada leave closed" {
				t.Errorf("told %q", got)
			}
		})
	}
	for grace, stays := range map[time.Duration]time.Duration{time.Second: 35 * time.Second, time.Minute: time.Minute} {
		bubble(t, fmt.Sprint("a grace of ", grace), func(t *testing.T) {
			h := start(t, tokens(), &realtime.Options{Presence: realtime.PresenceOptions{DropGrace: grace}})
			watch := h.presence()
			s := h.greet("ada,1m,")
			s.ok(`"op":"join","channel":"room"`)
			s.closed()
			time.Sleep(stays - 1)
			if got := story(watch); got != "ada join" {
				t.Errorf("told %q", got)
			}
			time.Sleep(time.Second)
			if got := story(watch); got != "ada leave closed" {
				t.Errorf("told %q", got)
			}
		})
	}
}

// A policy that panics is a fault of its connection's alone.
func TestRenewalPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tokens()
		inner := p.Authenticate
		p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
			if testkit.Bearer(r) == "panic" {
				panic(errors.New("host's fault"))
			}
			return inner(r)
		}
		h := start(t, p, nil)
		s, other := h.greet("ada"), h.greet("ada")
		s.ask(renew("panic"))
		if code, _ := s.closed(); code != 1011 {
			t.Errorf("closed with %d", code)
		}
		other.ok(renew("ada"))
		h.recheck("ada")
	})
}

// A ping that is on its way when the server ends a connection does not break it.
func TestEndingDuringAPing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := start(t, tokens(), noLimits)
		for i := range 300 { // it is a matter of luck
			s := h.greet("ada,25s,") // and there is a ping every 25 s
			if code, last := s.closed(); code != 4401 || len(last) == 0 {
				t.Fatalf("round %d: closed with %d, %v", i, code, last)
			}
		}
	})
}
