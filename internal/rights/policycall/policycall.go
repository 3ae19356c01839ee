// Package policycall calls the functions of a host's policy: each has a deadline, and returns by
// then, even if it ignores its context; the calls are counted.
package policycall

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/host/timely"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/metric"
)

// Time is how long a policy may think about a client. That of a WebSocket reads nothing
// meanwhile, pongs included; so Time and bounded.CallTime together are less than the time
// in which it must answer a ping.
const Time = 5 * time.Second

// Patient is the time in which a policy must authenticate a request to a route of the
// host: somebody who uploads a file waits longer than a connection can.
const Patient = 30 * time.Second

// MaxLeft bounds the abandoned calls of a policy.
const MaxLeft = 1024

// The functions of a policy.
const (
	Authenticate = "Authenticate"
	Allow        = "Allow"
	Grants       = "Grants"
)

// Calls are the calls of a policy.
type Calls struct {
	calls *timely.Calls
	log   *slog.Logger
	of    map[string]*metric.Calls // by function
}

// New returns no calls.
func New(log *slog.Logger) *Calls {
	c := &Calls{log: log, of: make(map[string]*metric.Calls)}
	for _, function := range []string{Authenticate, Allow, Grants} {
		c.of[function] = metric.NewCalls("refused", "ok", "timeout")
	}
	c.calls = timely.New(MaxLeft, func(p *timely.Panicked) {
		log.Error("realtime: panic in a call of the policy that had been given up", "panic", p.Value, "stack", string(p.Stack))
	})
	return c
}

// Wait returns when no call is running, or with the error of ctx.
func (c *Calls) Wait(ctx context.Context) error { return c.calls.Wait(ctx) }

// Left returns how many abandoned calls have not returned yet.
func (c *Calls) Left() int { return c.calls.Left() }

// Stats returns the present figures, by function, in lower case.
func (c *Calls) Stats() map[string]metric.CallStats {
	s := make(map[string]metric.CallStats)
	for function, calls := range c.of {
		s[strings.ToLower(function)] = calls.Stats()
	}
	return s
}

// patienceKey is the context key of the time for a function of a policy, if that is not
// Time.
type patienceKey struct{}

// Patiently gives the policy the time Patient for a request.
func Patiently(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), patienceKey{}, Patient))
}

// Do calls f, one of the functions. If it does not return in time, the error matches
// [bounded.ErrTemporary].
func Do[T any](ctx context.Context, c *Calls, function string, f func(context.Context) (T, error)) (T, error) {
	began := time.Now()
	patience, ok := ctx.Value(patienceKey{}).(time.Duration)
	if !ok {
		patience = Time
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	value, err := timely.Do(ctx, c.calls, f)
	late := errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, timely.ErrBusy)
	if err != nil && late {
		c.log.Warn("realtime: the policy does not answer in time", "function", function, "error", err)
		err = fault.Errorf("%w: the policy did not answer in time: %w", bounded.ErrTemporary, err)
	}
	c.of[function].Done(began, outcome(err))
	return value, err
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, bounded.ErrTemporary):
		return "timeout"
	}
	return "refused"
}
