package realtime_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// slowTokens is tokens with an Authenticate that takes a second for those of the
// team "slow".
func slowTokens() realtime.Policy {
	p := tokens()
	inner := p.Authenticate
	p.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		id, err := inner(r)
		if id.Claims == "slow" {
			time.Sleep(time.Second)
		}
		return id, err
	}
	return p
}

// whileRenewing does something while a slow policy decides about a renewal.
func whileRenewing(t *testing.T, first string, f func(h *host)) (*socket, *host) {
	h := start(t, slowTokens(), nil)
	s := h.greet(first)
	s.ok(subscribe("room"))
	s.ask(renew("ada,10m,slow"))
	time.Sleep(time.Second / 2)
	f(h)
	return s, h
}

// Rights that change, and time that runs out, while a renewal is decided.
func TestRenewalMeanwhile(t *testing.T) {
	bubble(t, "Recheck", renewalMeanwhileRecheck)
	bubble(t, "Recheck of somebody else", func(t *testing.T) {
		s, _ := whileRenewing(t, "ada,1m,", func(h *host) { h.recheck("bob") })
		s.want("ok")
	})
	bubble(t, "Revoke", renewalMeanwhileRevoke)
	bubble(t, "expiry", func(t *testing.T) {
		s, _ := whileRenewing(t, "ada,700ms,", func(*host) {})
		if code, _ := s.closed(); code != 4401 {
			t.Errorf("closed with %d", code)
		}
	})
	bubble(t, "Close", renewalMeanwhileClose)
}

func renewalMeanwhileRecheck(t *testing.T) {
	s, h := whileRenewing(t, "ada,1m,", func(h *host) {
		began := time.Now()
		h.recheck("ada")
		if took := time.Since(began); took > 0 {
			t.Errorf("it waits %v for Authenticate", took)
		}
	})
	if o := s.next(); o.Code != "unavailable" || !*o.Retry {
		t.Errorf("%s", o.raw)
	}
	s.ok(renew("ada,10m,slow"))
	time.Sleep(5 * time.Minute)
	h.publish("room", 1)
	if got := s.data(1); got != "1" {
		t.Error(got)
	}
}

func renewalMeanwhileRevoke(t *testing.T) {
	s, h := whileRenewing(t, "ada,1m,", func(h *host) {
		if err := h.Revoke(t.Context(), "ada"); err != nil {
			t.Error(err)
		}
	})
	if code, last := s.closed(); code != 4403 || len(last) != 1 || last[0].Reason != "revoked" {
		t.Errorf("closed with %d, %+v", code, last)
	}
	if users, _ := h.Remembered(); users != 0 {
		t.Errorf("%d users", users)
	}
}

func renewalMeanwhileClose(t *testing.T) {
	s, _ := whileRenewing(t, "ada,1m,", func(h *host) {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if code, _ := s.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
}

// Renewals, checks of the same user and operations all at once.
func TestRenewalAmongRechecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var may rights
		h := start(t, may.policy(), noLimits)
		s := h.socket(get("/realtime", "Authorization", asAda))
		var all sync.WaitGroup
		var stop atomic.Bool
		all.Go(func() {
			for !stop.Load() {
				s.ask(renew("ada"))
				s.ask(subscribe("room"))
				s.ask(`"op":"join","channel":"room"`)
				time.Sleep(time.Millisecond)
			}
		})
		for i := range 100 {
			var why error
			if i%2 == 0 {
				why = realtime.ErrTemporary
			}
			may.take("room", why)
			h.recheck("ada")
			if members, _ := h.Presence().Members(t.Context(), "room"); i%2 == 0 && len(members) > 0 {
				t.Fatalf("round %d: present: %v", i, members)
			}
			time.Sleep(3 * time.Millisecond)
		}
		stop.Store(true)
		all.Wait()
		s.answer(s.ask(`"op":"ping"`))
	})
}
