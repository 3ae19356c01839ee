package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// inside is open with functions that are called within those of the policy.
type inside struct {
	rt           *realtime.Realtime
	authenticate func(ctx context.Context, id realtime.Identity) error
	allow        func(ctx context.Context, id realtime.Identity, a realtime.Action) error
	grants       func(ctx context.Context, id realtime.Identity) error
}

func (in *inside) policy() realtime.Policy {
	p := tokens()
	authenticate := p.Authenticate
	p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		id, err := authenticate(r)
		if err == nil && in.authenticate != nil {
			err = in.authenticate(r.Context(), id)
		}
		return id, err
	}
	p.Allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
		if in.allow == nil {
			return nil
		}
		return in.allow(ctx, id, a)
	}
	grants := p.Grants
	p.Grants = func(ctx context.Context, id realtime.Identity) ([]realtime.Grant, error) {
		if in.grants != nil {
			if err := in.grants(ctx, id); err != nil {
				return nil, err
			}
		}
		return grants(ctx, id)
	}
	return p
}

func (in *inside) start(t *testing.T) *host {
	h := start(t, in.policy(), noLimits)
	in.rt = h.Realtime
	return h
}

// opened is a connection of either kind, and how it is known to go on or to have
// ended.
type opened struct {
	alive func() bool
	ended func() string // why
}

func (h *host) sessions() map[string]func(token string) opened {
	ofSocket := func(s *socket) opened {
		return opened{
			alive: func() bool {
				h.publish("room", "alive?")
				return s.want("message").Event == "message"
			},
			ended: func() string {
				code, last := s.closed()
				return fmt.Sprint(code, " ", last[len(last)-1].Reason)
			},
		}
	}
	return map[string]func(token string) opened{
		"WebSocket": func(token string) opened {
			s := h.socket(get("/realtime", "Authorization", "Bearer "+token))
			s.ok(subscribe("room"))
			return ofSocket(s)
		},
		"WebSocket with a token in its hello": func(token string) opened {
			s := h.greet(token)
			s.ok(subscribe("room"))
			return ofSocket(s)
		},
		"WebSocket with both": func(token string) opened {
			s := h.dial(get("/realtime", "Authorization", "Bearer "+token))
			s.send(`{"op":"hello","cid":"` + tab1 + `","token":"` + token + `"}`)
			s.want("hello")
			s.ok(subscribe("room"))
			return ofSocket(s)
		},
		"REN": func(token string) opened {
			s := h.ren(get("/ren?s=realtime", "Authorization", "Bearer "+token))
			return opened{
				alive: func() bool { h.publish("room", "alive?"); return s.next().Name == "message" },
				ended: func() string {
					bye := s.next()
					for bye.Name == "message" {
						bye = s.next()
					}
					s.ended()
					return "4403 " + bye.Reason
				},
			}
		},
	}
}

// One session per user: who comes is let in, and who was there is sent away,
// whichever function of the policy sees to it.
func TestOneSessionPerUser(t *testing.T) {
	revoke := func(in *inside) func(context.Context, realtime.Identity) error {
		return func(ctx context.Context, id realtime.Identity) error { return in.rt.Revoke(ctx, id.User) }
	}
	for where, set := range map[string]func(in *inside){
		"Authenticate": func(in *inside) { in.authenticate = revoke(in) },
		"Authenticate, with a context of its own": func(in *inside) {
			in.authenticate = func(ctx context.Context, id realtime.Identity) error {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				return in.rt.Revoke(ctx, id.User)
			}
		},
		"Grants": func(in *inside) { in.grants = revoke(in) },
	} {
		for _, kind := range []string{"WebSocket", "WebSocket with a token in its hello", "WebSocket with both", "REN"} {
			if where == "Grants" && kind != "REN" {
				continue
			}
			bubble(t, where+"/"+kind, func(t *testing.T) {
				in := new(inside)
				set(in)
				h := in.start(t)
				other := h.sessions()["REN"]("bob")
				began := time.Now()
				old := h.sessions()[kind]("ada")
				for range 3 {
					comes := h.sessions()[kind]("ada")
					if why := old.ended(); why != "4403 revoked" {
						t.Errorf("the old one ended with %s", why)
					}
					if !comes.alive() {
						t.Error("the new one is dead")
					}
					other.alive()
					old = comes
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("it took %v", took)
				}
				if users, _ := h.Remembered(); users != 2 {
					t.Errorf("%d users", users)
				}
			})
		}
	}
}

// The presence of the old session ends as well, and the user's limit has room.
func TestOneSessionPerUserIsPresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		in.authenticate = func(ctx context.Context, id realtime.Identity) error {
			err := in.rt.Revoke(ctx, id.User)
			if members, _ := in.rt.Presence().Members(ctx, "room"); len(members) > 0 {
				t.Errorf("present after Revoke: %v", members)
			}
			return err
		}
		h := start(t, in.policy(), &realtime.Options{Limits: realtime.Limits{Connections: 1}})
		in.rt = h.Realtime
		watch := h.presence()
		for range 3 {
			h.tab("ada", "room")
		}
		if got := story(watch); got != "ada join, ada leave closed, ada join, ada leave closed, ada join" {
			t.Errorf("told %q", got)
		}
	})
}

// A client that somebody revokes while it is being let in is turned away, even if the
// policy itself revokes at the same time.
func TestRevokedElsewhereWhileArriving(t *testing.T) {
	for _, verb := range []string{"Revoke", "Recheck"} {
		for _, path := range []string{"/ren", "/realtime", "/realtime?auth=hello"} {
			bubble(t, verb+" "+path, func(t *testing.T) {
				in := new(inside)
				in.authenticate = func(ctx context.Context, id realtime.Identity) error {
					err := in.rt.Revoke(ctx, id.User)
					time.Sleep(time.Second)
					return err
				}
				h := in.start(t)
				time.AfterFunc(time.Second/2, func() {
					if verb == "Revoke" {
						_ = h.Revoke(context.Background(), "ada")
					} else {
						_ = h.Recheck(context.Background(), "ada")
					}
				})
				if strings.HasSuffix(path, "hello") {
					s := h.dial(get(path))
					s.send(`{"op":"hello","cid":"` + tab1 + `","token":"ada"}`)
					if code, last := s.closed(); code != 4503 || last[0].Code != "unavailable" {
						t.Errorf("closed with %d, %+v", code, last)
					}
					return
				}
				ask := get(path, "Authorization", asAda)
				if path == "/realtime" {
					ask = get(path, append(upgrade, "Authorization", asAda)...)
				}
				if status, f := h.refused(ask); status != http.StatusServiceUnavailable || !*f.Retry {
					t.Errorf("%d %+v", status, f)
				}
			})
		}
	}
}

// A client that is being let in while the Authenticate of another client revokes its user
// is turned away.
func TestRevokedByAnotherArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		in.authenticate = func(ctx context.Context, id realtime.Identity) error {
			if id.Claims == "slow" {
				time.Sleep(time.Second)
				return nil
			}
			return in.rt.Revoke(ctx, id.User)
		}
		h := in.start(t)
		time.AfterFunc(time.Second/2, func() { h.ren(get("/ren", "Authorization", asAda)) })
		if status, f := h.refused(get("/ren", "Authorization", "Bearer ada,1h,slow")); status != http.StatusServiceUnavailable || !*f.Retry {
			t.Errorf("%d %+v", status, f)
		}
	})
}

// Two operations that check each other's connections do not wait for each other.
func TestRecheckInAllowOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			if a.Verb != realtime.VerbPublish {
				return nil
			}
			time.Sleep(time.Millisecond)
			return in.rt.Recheck(ctx, id.User)
		}
		h := in.start(t)
		one, two := h.socket(get("/realtime", "Authorization", asAda)), h.socket(get("/realtime", "Authorization", asAda))
		began := time.Now()
		ref1, ref2 := one.ask(publish("room", "1")), two.ask(publish("room", "1"))
		if o := one.answer(ref1); o.Event != "ok" {
			t.Errorf("%s", o.raw)
		}
		if o := two.answer(ref2); o.Event != "ok" {
			t.Errorf("%s", o.raw)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A connection about which the policy is being asked, for longer than a check
// within the policy waits, is checked right after that.
func TestRecheckInAllowOfABusyUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		var closed atomic.Bool
		in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			switch {
			case a.Name == "slow":
				time.Sleep(2 * time.Second)
			case a.Name == "close":
				closed.Store(true)
				return in.rt.Recheck(ctx, id.User)
			case closed.Load():
				return errNotAllowed
			}
			return nil
		}
		h := in.start(t)
		busy, other := h.socket(get("/realtime", "Authorization", asAda)), h.socket(get("/realtime", "Authorization", asAda))
		busy.ok(subscribe("room"))
		ref := busy.ask(publish("slow", "1"))
		synctest.Wait()
		other.ok(publish("close", "1"))
		busy.answer(ref)
		if o := busy.want("unsubscribed"); o.Channel != "room" || o.Code != "forbidden" {
			t.Errorf("%s", o.raw)
		}
		busy.ok(`"op":"ping"`)
	})
}

// A context that outlives the call of the policy no longer says anything.
func TestContextKeptByThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, kept := new(inside), make(chan context.Context, 10)
		in.authenticate = func(ctx context.Context, _ realtime.Identity) error {
			kept <- context.WithoutCancel(ctx)
			return nil
		}
		h := in.start(t)
		for _, open := range h.sessions() {
			s := open("ada")
			for len(kept) > 0 {
				if err := h.Revoke(<-kept, "ada"); err != nil {
					t.Error(err)
				}
			}
			if why := s.ended(); why != "4403 revoked" {
				t.Errorf("ended with %s", why)
			}
		}
	})
}

// Renewals authenticate, too. The connection that renews is spared, unless it is
// refused after all.
func TestRevokeInARenewal(t *testing.T) {
	for token, want := range map[string]string{
		"ada,1h,":       "",
		"ada,1h,refuse": "4403 revoked",
		"ada,1h,later":  "4503 rotate",
	} {
		bubble(t, token, func(t *testing.T) {
			in := new(inside)
			in.authenticate = func(ctx context.Context, id realtime.Identity) error {
				if id.Expires.IsZero() {
					return nil
				}
				if err := in.rt.Revoke(ctx, "ada"); err != nil {
					t.Error(err)
				}
				switch id.Claims {
				case "refuse":
					return errNotAllowed
				case "later":
					return realtime.ErrTemporary
				}
				return nil
			}
			h := in.start(t)
			old, s := h.sessions()["REN"]("ada"), h.greet("ada")
			s.ok(subscribe("room"))
			s.ask(renew(token))
			if why := old.ended(); why != "4403 revoked" {
				t.Errorf("the other one ended with %s", why)
			}
			if want == "" {
				s.want("ok")
				h.publish("room", 1)
				s.data(1)
				return
			}
			code, last := s.closed()
			if got := fmt.Sprint(code, " ", last[len(last)-1].Reason); got != want {
				t.Errorf("ended with %s, want %s", got, want)
			}
		})
	}
}

// One room per user: who subscribes to another is taken out of the first, on all
// connections, the asking one included.
func TestRecheckInAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		var mu sync.Mutex
		room := ""
		in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			mu.Lock()
			if a.Verb == realtime.VerbPublish && strings.HasPrefix(a.Name, "go:") { // moves
				room = strings.TrimPrefix(a.Name, "go:")
				mu.Unlock()
				if err := in.rt.Recheck(ctx, id.User); err != nil {
					t.Error(err)
				}
				return nil
			}
			defer mu.Unlock()
			if a.Name != room {
				return errNotAllowed
			}
			return nil
		}
		h := in.start(t)
		one, two := h.socket(get("/realtime", "Authorization", asAda)), h.socket(get("/realtime", "Authorization", asAda))
		began := time.Now()
		one.ok(publish("go:a", "1"), subscribe("a"))
		two.ok(subscribe("a"), `"op":"join","channel":"a"`)
		ref := one.ask(publish("go:b", "1"))
		if o := one.want("unsubscribed"); o.Channel != "a" {
			t.Errorf("%s", o.raw)
		}
		one.answer(ref)
		two.want("unsubscribed")
		two.want("left")
		h.publish("a", "secret")
		one.nothing()
		two.nothing()
		one.ok(subscribe("b"))
		two.ok(publish("go:c", "1"))
		one.want("unsubscribed")
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		two.ok(`"op":"ping"`)
		one.ok(`"op":"ping"`)
	})
}

// A policy that checks again whenever it is asked, on many connections with many
// channels that are all busy: each check comes to an end, and nobody is sent away.
func TestRecheckInEveryCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, calls, takes := new(inside), atomic.Int64{}, atomic.Int64{}
		again := func(ctx context.Context, id realtime.Identity) error {
			calls.Add(1)
			time.Sleep(time.Duration(takes.Load()))
			return in.rt.Recheck(ctx, id.User)
		}
		in.authenticate, in.grants = again, again
		in.allow = func(ctx context.Context, id realtime.Identity, _ realtime.Action) error { return again(ctx, id) }
		h := in.start(t)
		var tabs []*socket
		for range 5 {
			s := h.socket(get("/realtime", "Authorization", asAda))
			s.ok(subscribe("a"), subscribe("b"), `"op":"join","channel":"a"`)
			synctest.Wait() // who arrives while rights are checked is asked to come back
			tabs = append(tabs, s)
		}
		stream := h.ren(get("/ren", "Authorization", asAda))
		calls.Store(0)
		h.recheck("ada")
		if n := calls.Load(); n > 16 { // 3 for each socket, 1 for the stream
			t.Errorf("one Recheck asks %d times", n)
		}
		calls.Store(0)
		tabs[0].answer(tabs[0].ask(publish("a", "1")))
		synctest.Wait()
		if n := calls.Load(); n > 1+2*16 { // itself, the others, and when it is over its own connection, and the others
			t.Errorf("one operation asks %d times", n)
		}
		takes.Store(int64(time.Second))
		var all sync.WaitGroup
		for _, s := range tabs { // all at once
			all.Go(func() {
				for range 3 {
					s.answer(s.ask(publish("a", "1")))
				}
			})
		}
		all.Wait()
		time.Sleep(time.Minute)
		n := calls.Load()
		time.Sleep(time.Minute)
		if calls.Load() != n {
			t.Error("it goes on by itself")
		}
		for _, s := range tabs {
			s.rest()
			s.ok(`"op":"ping"`)
		}
		stream.rest()
		h.publish("a", 1)
		if ev := stream.next(); ev.Name != "message" {
			t.Errorf("%s %s", ev.Name, ev.Raw)
		}
	})
}

// A user who is banned for what a message says: all connections end, that of the
// message included, and Allow does not wait for itself.
func TestRevokeInAllow(t *testing.T) {
	for name, own := range map[string]func(context.Context) context.Context{
		"its context": func(ctx context.Context) context.Context { return ctx },
		"another":     func(context.Context) context.Context { return context.Background() },
	} {
		bubble(t, name, func(t *testing.T) {
			in, returned := new(inside), make(chan error, 10)
			in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
				if a.Verb != realtime.VerbPublish {
					return nil
				}
				returned <- in.rt.Revoke(own(ctx), id.User)
				return errors.New("banned")
			}
			h := in.start(t)
			watch := h.presence()
			s, other := h.socket(get("/realtime", "Authorization", asAda)), h.sessions()["REN"]("ada")
			second := h.tab("ada", "room")
			s.ok(`"op":"join","channel":"room"`)
			s.ask(publish("room", "1"))
			if why := other.ended(); why != "4403 revoked" {
				t.Errorf("the stream ended with %s", why)
			}
			for _, s := range []*socket{s, second} {
				if code, _ := s.closed(); code != 4403 {
					t.Errorf("closed with %d", code)
				}
			}
			if err := <-returned; err != nil {
				t.Error(err)
			}
			if got := story(watch); got != "ada join, ada leave closed" {
				t.Errorf("told %q", got)
			}
		})
	}
	bubble(t, "two at once", func(t *testing.T) {
		in := new(inside)
		in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
			time.Sleep(time.Millisecond)
			_ = in.rt.Revoke(ctx, id.User) // one of them ends the context of the other
			return errNotAllowed
		}
		h := in.start(t)
		one, two := h.socket(get("/realtime", "Authorization", asAda)), h.socket(get("/realtime", "Authorization", asAda))
		began := time.Now()
		one.ask(publish("room", "1"))
		two.ask(publish("room", "1"))
		for _, s := range []*socket{one, two} {
			if code, _ := s.closed(); code != 4403 {
				t.Errorf("closed with %d", code)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// Within a check: a policy that revokes, because the user is gone.
func TestRevokeInRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(inside)
		var gone atomic.Bool
		revoke := func(ctx context.Context, id realtime.Identity) error {
			if !gone.Load() {
				return nil
			}
			if err := in.rt.Revoke(ctx, id.User); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			return errNotAllowed
		}
		in.grants = revoke
		in.allow = func(ctx context.Context, id realtime.Identity, _ realtime.Action) error { return revoke(ctx, id) }
		h := in.start(t)
		var all []opened
		for _, open := range h.sessions() {
			all = append(all, open("ada"), open("ada"))
		}
		gone.Store(true)
		h.recheck("ada")
		for _, s := range all {
			if why := s.ended(); why != "4403 revoked" && why != "4403 forbidden" {
				t.Errorf("ended with %s", why)
			}
		}
	})
}

// Requests of the host's own, and uploads, ask the same policy.
func TestRevokeInAuthorize(t *testing.T) {
	for _, what := range []string{"Authenticate", "Allow"} {
		for _, path := range []string{"/asked", "/api/storage/download?path=a"} {
			bubble(t, what+" "+path, func(t *testing.T) {
				in := new(inside)
				var on atomic.Bool
				revoke := func(ctx context.Context, id realtime.Identity) error {
					if !on.Load() {
						return nil
					}
					return errors.Join(in.rt.Recheck(ctx, id.User), in.rt.Revoke(ctx, id.User))
				}
				if what == "Authenticate" {
					in.authenticate = revoke
				} else {
					in.allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
						if a.Verb == realtime.VerbSubscribe {
							return nil
						}
						return revoke(ctx, id)
					}
				}
				h := prepare(t, in.policy(), nil)
				in.rt, h.handler = h.Realtime, wholeApp(t, h.Realtime)
				h.serve()
				s := h.socket(get("/ws", "Authorization", asAda))
				s.ok(subscribe("room"))
				on.Store(true)
				resp := h.do(t.Context(), get(path, "Authorization", asAda))
				resp.Body.Close()
				if resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusForbidden {
					t.Errorf("answered %s", resp.Status)
				}
				if code, _ := s.closed(); code != 4403 {
					t.Errorf("closed with %d", code)
				}
			})
		}
	}
}
