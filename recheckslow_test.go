package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// slowRights is a policy that takes its time to allow, once it is switched on.
type slowRights struct {
	rights
	takes atomic.Int64
	deaf  bool
}

func (p *slowRights) policy() realtime.Policy {
	policy := p.rights.policy()
	allow := policy.Allow
	policy.Allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) error {
		err := allow(ctx, id, a)
		wait := time.Duration(p.takes.Load())
		if p.deaf {
			time.Sleep(wait)
			return err
		}
		select {
		case <-time.After(wait):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return policy
}

// A policy that takes long, and answers in time, takes nothing away that it grants,
// and the client goes on all the while.
func TestRecheckOfASlowPolicy(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{60 * time.Millisecond, time.Second, 4900 * time.Millisecond} {
		bubble(t, takes.String(), func(t *testing.T) {
			var p slowRights
			h := start(t, p.policy(), noLimits)
			s := h.socket(get("/realtime", "Authorization", asAda))
			for i := range 100 {
				s.ok(subscribe(fmt.Sprint("room", i)), fmt.Sprintf(`"op":"join","channel":"room%d"`, i))
			}
			p.take("room7", errNotAllowed)
			p.takes.Store(int64(takes))
			began, done := time.Now(), make(chan error)
			go func() { done <- h.Recheck(t.Context(), "ada") }()
			time.Sleep(takes / 2)
			s.ok(`"op":"ping"`)
			if asked := time.Since(began); asked > takes/2 {
				t.Errorf("a ping was answered after %v", asked)
			}
			if err := <-done; err != nil || time.Since(began) > 10*takes {
				t.Errorf("Recheck returned %v after %v", err, time.Since(began))
			}
			var told []string
			for _, o := range s.rest() {
				told = append(told, o.Event+" "+o.Channel+" "+o.Code)
			}
			if got := fmt.Sprint(told); got != "[unsubscribed room7 forbidden left room7 forbidden]" {
				t.Errorf("told %s", got)
			}
		})
	}
}

// A policy that answers one question after the other, or a few at a time, since it has so
// many connections to a database, takes nothing away that it grants. What many questions
// that wait for each other take together does not count against each of them.
func TestRecheckOfAPolicyThatWaits(t *testing.T) {
	for _, c := range []struct {
		atOnce int
		takes  time.Duration
	}{{1, 60 * time.Millisecond}, {1, 250 * time.Millisecond}, {4, 900 * time.Millisecond}} {
		bubble(t, fmt.Sprintf("%d at once, %v", c.atOnce, c.takes), func(t *testing.T) {
			policy, slow := open(), make(chan struct{}, c.atOnce)
			var on atomic.Bool
			answer := func(ctx context.Context) error {
				if !on.Load() {
					return nil
				}
				select {
				case slow <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				defer func() { <-slow }()
				time.Sleep(c.takes)
				return ctx.Err()
			}
			policy.Allow = func(ctx context.Context, _ realtime.Identity, _ realtime.Action) error { return answer(ctx) }
			grants := policy.Grants
			policy.Grants = func(ctx context.Context, id realtime.Identity) ([]realtime.Grant, error) {
				if err := answer(ctx); err != nil {
					return nil, err
				}
				return grants(ctx, id)
			}
			h := start(t, policy, noLimits)
			s := h.socket(get("/realtime", "Authorization", asAda))
			for i := range 80 {
				s.ok(subscribe(fmt.Sprint("room", i)))
			}
			var streams []*ren
			for range 20 {
				streams = append(streams, h.ren(get("/ren", "Authorization", asAda)))
			}
			on.Store(true)
			noError(t, h.Recheck(t.Context(), "ada"))
			s.nothing()
			for _, r := range streams {
				if again := r.next(); again.Name != "ren.hello" {
					t.Errorf("a stream got %s", again.Raw)
				}
				r.nothing()
			}
		})
	}
}

// A right that the policy does not decide about is taken away. Each question has 5 s of
// its own, so this does not take minutes. The client stays connected.
func TestRecheckOfAPolicyThatHangs(t *testing.T) {
	t.Parallel()
	for name, deaf := range map[string]bool{"obeys": false, "deaf": true} {
		bubble(t, name, func(t *testing.T) {
			p := slowRights{deaf: deaf}
			h := start(t, p.policy(), noLimits)
			s := h.socket(get("/realtime", "Authorization", asAda))
			for i := range 128 {
				s.ok(subscribe(fmt.Sprint("room", i)))
			}
			p.takes.Store(int64(time.Minute))
			began := time.Now()
			noError(t, h.Recheck(t.Context(), "ada"))
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("Recheck took %v", took)
			}
			told := 0
			for _, o := range s.rest() {
				if o.Event == "unsubscribed" && o.Code == "unavailable" && *o.Retry {
					told++
				}
			}
			if told != 128 {
				t.Errorf("told of %d channels", told)
			}
			p.takes.Store(0)
			s.ok(subscribe("room1"))
			time.Sleep(time.Minute) // the abandoned call returns
		})
	}
}

// An operation that takes long costs its client nothing when its rights are
// checked, and is not done if it was allowed before.
func TestRecheckDuringASlowOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p slowRights
		h := start(t, p.policy(), nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("lobby"), subscribe("room"))
		p.takes.Store(int64(3 * time.Second))
		s.ask(publish("room", "1"))
		synctest.Wait()
		p.take("room", errNotAllowed)
		began := time.Now()
		noError(t, h.Recheck(t.Context(), "ada"))
		if took := time.Since(began); took > 7*time.Second {
			t.Errorf("Recheck took %v", took)
		}
		s.rest()
		s.ask(publish("room", "2"))
		h.publish("room", "secret")
		h.publish("lobby", 3)
		if got := s.data(1); got != "3" {
			t.Errorf("got %s", got)
		}
		if o := s.want("error"); o.Code != "forbidden" {
			t.Errorf("%s", o.raw)
		}
	})
}

// If the context of Recheck ends, for example because the client of a request has gone,
// allowed rights stay. Rights that are no longer allowed end nevertheless.
func TestRecheckIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p slowRights
		h := start(t, p.policy(), nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"), subscribe("lobby"), `"op":"join","channel":"lobby"`)
		p.takes.Store(int64(time.Second))
		p.take("room", errNotAllowed)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		began := time.Now()
		if err := h.Recheck(ctx, "ada"); !errors.Is(err, context.Canceled) || time.Since(began) != 500*time.Millisecond {
			t.Errorf("Recheck returned %v after %v", err, time.Since(began))
		}
		time.Sleep(10 * time.Second)
		if o := s.want("unsubscribed"); o.Channel != "room" {
			t.Errorf("%s", o.raw)
		}
		s.nothing()
	})
}

// Of two at the same time, the one that asked last counts, in whatever order they
// are answered; and so does an operation that was decided later.
func TestRechecksOfASocketOvertaken(t *testing.T) {
	for _, c := range []struct{ first, second, later, want string }{
		{"yes", "no", "", "unsubscribed left"},
		{"no", "yes", "", ""},
		{"no", "", "yes", ""},
	} {
		bubble(t, fmt.Sprint(c), func(t *testing.T) {
			var answer atomic.Value
			var hold sync.Map // answers that wait
			p := open()
			p.Allow = func(ctx context.Context, _ realtime.Identity, _ realtime.Action) error {
				a := answer.Load().(string)
				if wait, ok := hold.Load(a); ok {
					<-wait.(chan struct{})
				}
				if a == "no" {
					return errNotAllowed
				}
				return nil
			}
			answer.Store("ok")
			h := start(t, p, nil)
			s := h.socket(get("/realtime", "Authorization", asAda))
			s.ok(subscribe("room"), `"op":"join","channel":"room"`)
			wait := make(chan struct{})
			hold.Store(c.first, wait)
			answer.Store(c.first)
			first := make(chan error)
			go func() { first <- h.Recheck(t.Context(), "ada") }()
			synctest.Wait()
			if c.second != "" {
				answer.Store(c.second)
				noError(t, h.Recheck(t.Context(), "ada"))
			} else {
				answer.Store(c.later)
				s.ok(subscribe("room"), `"op":"join","channel":"room"`)
			}
			close(wait)
			noError(t, <-first)
			got := ""
			for _, o := range s.rest() {
				got += " " + o.Event
			}
			if got != "" {
				got = got[1:]
			}
			if got != c.want {
				t.Errorf("told %q, want %q", got, c.want)
			}
		})
	}
}

// A policy may check rights again while it decides.
func TestRecheckInsideAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *host
		var once sync.Once
		p := open()
		p.Allow = func(ctx context.Context, id realtime.Identity, a realtime.Action) (err error) {
			if a.Name == "lobby" {
				once.Do(func() { err = h.Recheck(ctx, id.User) })
			}
			return err
		}
		h = start(t, p, nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"))
		began := time.Now()
		s.ok(subscribe("lobby"), `"op":"join","channel":"lobby"`)
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
		s.nothing()
	})
}

// A backend that hangs does not hold up who is checked.
func TestRecheckOfABackendThatHangs(t *testing.T) {
	var may rights
	hangs(t, may.policy(), func(t *testing.T, h *host, b *hanging) {
		may.take("room", nil)
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"), `"op":"join","channel":"room"`, subscribe("lobby"))
		b.hang("Leave")
		may.take("room", errNotAllowed)
		_ = within(t, "Recheck", func() error { return h.Recheck(t.Context(), "ada") })
		s.want("unsubscribed")
		s.want("left")
		s.ok(`"op":"ping"`)
		b.release()
		time.Sleep(time.Minute)
		if members, _ := h.Presence().Members(t.Context(), "room"); len(members) != 0 {
			t.Errorf("present: %v", members)
		}
	})
}
