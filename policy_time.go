package realtime

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/metric"
	"github.com/maravilla-realtime/realtime/internal/timely"
)

// decideTime is how long a policy may think about a client. That of a WebSocket
// reads nothing meanwhile, pongs included; so decideTime and engine.CallTime together are
// less than messageTime, in which it must answer a ping.
const decideTime = 5 * time.Second

// undecided bounds the abandoned calls of a policy, and those of History.Older.
const undecided = 1024

// policyCalls are the calls of the functions of a policy.
type policyCalls struct {
	*timely.Calls
	log                         *slog.Logger
	authenticate, allow, grants *metric.Calls
}

func newPolicyCalls(log *slog.Logger) *policyCalls {
	calls := func() *metric.Calls { return metric.NewCalls("refused", "ok", "timeout") }
	return &policyCalls{log: log, authenticate: calls(), allow: calls(), grants: calls(), Calls: timely.New(undecided, func(p *timely.Panicked) {
		log.Error("realtime: panic in a call of the policy that had been given up", "panic", p.Value, "stack", string(p.Stack))
	})}
}

func (c *policyCalls) stats() PolicyStats {
	return PolicyStats{
		Functions: map[string]CallStats{
			"authenticate": callStats(c.authenticate.Stats()), "allow": callStats(c.allow.Stats()), "grants": callStats(c.grants.Stats()),
		},
		Abandoned: c.Left(),
	}
}

// timely returns the policy with functions that return within decideTime, even if the
// host's functions ignore their context.
func (p Policy) timely(calls *policyCalls) Policy {
	if p.allowAll {
		return p
	}
	if f := p.Authenticate; f != nil {
		p.Authenticate = func(r *http.Request) (Identity, error) {
			return decide(r.Context(), calls, calls.authenticate, "Authenticate", func(ctx context.Context) (Identity, error) {
				return f(r.WithContext(ctx))
			})
		}
	}
	if f := p.Allow; f != nil {
		p.Allow = func(ctx context.Context, id Identity, a Action) error {
			_, err := decide(ctx, calls, calls.allow, "Allow", func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx, id, a) })
			return err
		}
	}
	if f := p.Grants; f != nil {
		p.Grants = func(ctx context.Context, id Identity) ([]Grant, error) {
			return decide(ctx, calls, calls.grants, "Grants", func(ctx context.Context) ([]Grant, error) { return f(ctx, id) })
		}
	}
	return p
}

// patienceKey is the context key of the time for a function of a policy, if that is not
// decideTime.
type patienceKey struct{}

// routeTime is the time in which a policy must authenticate a request to a route of the
// host: somebody who uploads a file waits longer than a connection can.
const routeTime = 30 * time.Second

// patiently gives the policy routeTime for a request.
func patiently(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), patienceKey{}, routeTime))
}

// decide calls a function of a policy. If it does not return in time, the error matches
// [ErrTemporary].
func decide[T any](ctx context.Context, calls *policyCalls, tally *metric.Calls, name string, f func(context.Context) (T, error)) (T, error) {
	began := time.Now()
	patience, ok := ctx.Value(patienceKey{}).(time.Duration)
	if !ok {
		patience = decideTime
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	value, err := timely.Do(ctx, calls.Calls, f)
	late := errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, timely.ErrBusy)
	if err != nil && late {
		calls.log.Warn("realtime: the policy does not answer in time", "function", name, "error", err)
		err = fault.Errorf("%w: the policy did not answer in time: %w", ErrTemporary, err)
	}
	tally.Done(began, decision(err))
	return value, err
}

// decision names the result of a call of a policy.
func decision(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrTemporary):
		return "timeout"
	}
	return "refused"
}
