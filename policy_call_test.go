package realtime_test

import (
	"context"
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
	t.Parallel()
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
