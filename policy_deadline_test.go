package realtime_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// heldPolicy holds its answers until the contexts of the questions end, once that is wanted.
type heldPolicy struct {
	held  bool // changed while nothing is asked
	ended chan error
}

func (p *heldPolicy) hold(ctx context.Context) error {
	if !p.held {
		return nil
	}
	select {
	case <-ctx.Done():
		p.ended <- ctx.Err()
	case <-time.After(time.Minute):
		p.ended <- errors.New("the question does not end")
	}
	return ctx.Err()
}

func (p *heldPolicy) policy() realtime.Policy {
	policy := open()
	authenticate := policy.Authenticate
	policy.Authenticate = func(r *http.Request) (realtime.Identity, error) {
		id, err := authenticate(r)
		return id, errors.Join(err, p.hold(r.Context()))
	}
	policy.Allow = func(ctx context.Context, _ realtime.Identity, _ realtime.Action) error { return p.hold(ctx) }
	return policy
}

// What a client has the policy asked ends after 5 s, and with the connection: the policy need
// not go on with it.
func TestQuestionsOfAWebSocketEnd(t *testing.T) {
	for name, op := range map[string]string{
		"subscribe": subscribe("room"), "publish": publish("room", "1"), "join": `"op":"join","channel":"room"`,
		"stop": `"op":"stop","channel":"room","id":"x"`, "renewal": `"op":"hello","token":"ada"`, "recheck": "",
	} {
		ask := func(t *testing.T) (*heldPolicy, *host, *socket) {
			p := &heldPolicy{ended: make(chan error, 1)}
			h := start(t, p.policy(), nil)
			s := h.socket(get("/realtime", "Authorization", asAda))
			s.ok(subscribe("lobby"))
			p.held = true
			if op != "" {
				s.ask(op)
			} else {
				go h.Recheck(context.Background(), "ada")
			}
			synctest.Wait()
			return p, h, s
		}
		bubble(t, name+" is late", func(t *testing.T) {
			p, _, s := ask(t)
			began := time.Now()
			err := <-p.ended
			if took := time.Since(began); took != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v after %v", err, took)
			}
			if o := s.next(); o.Code != "unavailable" {
				t.Errorf("told %s", o.raw)
			}
		})
		bubble(t, name+" of a connection that ends", func(t *testing.T) {
			p, h, _ := ask(t)
			began := time.Now()
			noError(t, h.Revoke(t.Context(), "ada"))
			err := <-p.ended
			if took := time.Since(began); took != 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("%v after %v", err, took)
			}
		})
	}
}

// So it has with AllowAll, of which a host has changed a function.
func TestQuestionsOfAllowAllEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy, release := realtime.AllowAll(), make(chan struct{})
		defer close(release)
		policy.Allow = func(context.Context, realtime.Identity, realtime.Action) error {
			select {
			case <-release:
			case <-time.After(time.Minute):
			}
			return nil
		}
		h := start(t, policy, nil)
		began := time.Now()
		if o := h.socket(get("/realtime")).call(publish("room", "1")); o.Code != "unavailable" {
			t.Errorf("told %s", o.raw)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("told after %v", took)
		}
	})
}
