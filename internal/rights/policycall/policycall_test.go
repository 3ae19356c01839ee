package policycall_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/rights/policycall"
)

// Do returns what the function returns, whose context ends after 5 s, or 30 s for a route
// of the host.
func TestDo(t *testing.T) {
	errNo := errors.New("no")
	slow := func(ctx context.Context) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	for name, c := range map[string]struct {
		f       func(context.Context) (int, error)
		patient bool
		outcome string
		err     error
		takes   time.Duration
	}{
		"yes":           {f: func(context.Context) (int, error) { return 7, nil }, outcome: "ok"},
		"no":            {f: func(context.Context) (int, error) { return 0, errNo }, outcome: "refused", err: errNo},
		"later":         {f: func(context.Context) (int, error) { return 0, bounded.ErrTemporary }, outcome: "timeout", err: bounded.ErrTemporary},
		"slow":          {f: slow, outcome: "timeout", err: bounded.ErrTemporary, takes: policycall.Time},
		"slow, a route": {f: slow, patient: true, outcome: "timeout", err: bounded.ErrTemporary, takes: policycall.Patient},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := policycall.New(slog.New(slog.DiscardHandler))
				r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
				if c.patient {
					r = policycall.Patiently(r)
				}
				began := time.Now()
				got, err := policycall.Do(r.Context(), calls, policycall.Allow, c.f)
				if !errors.Is(err, c.err) || err == nil && got != 7 || time.Since(began) != c.takes {
					t.Errorf("%d, %v after %v", got, err, time.Since(began))
				}
				if calls.Stats()["allow"].Outcomes[c.outcome] != 1 || calls.Left() != 0 || calls.Wait(t.Context()) != nil {
					t.Errorf("counted %v, left %d", calls.Stats()["allow"].Outcomes, calls.Left())
				}
			})
		})
	}
}

// A function that ignores its context is left, and waited for in the end.
func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, end := policycall.New(slog.New(slog.DiscardHandler)), make(chan struct{})
		_, err := policycall.Do(t.Context(), calls, policycall.Grants, func(context.Context) (int, error) {
			<-end
			return 0, nil
		})
		if !errors.Is(err, bounded.ErrTemporary) || calls.Left() != 1 || calls.Stats()["grants"].Outcomes["timeout"] != 1 {
			t.Errorf("%v, left %d, counted %v", err, calls.Left(), calls.Stats()["grants"].Outcomes)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := calls.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited for it: %v", err)
		}
		close(end)
		if err := calls.Wait(t.Context()); err != nil || calls.Left() != 0 {
			t.Errorf("%v, left %d", err, calls.Left())
		}
	})
}

// noted is a log, and what it has of levels and texts.
func noted() (*slog.Logger, *strings.Builder) {
	b := new(strings.Builder)
	return slog.New(slog.NewTextHandler(b, nil)), b
}

// A context ends with its call, in time or not; a call that has an answer after its
// context has ended, but before it was left, has that answer.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, said := noted()
		calls := policycall.New(log)
		var given context.Context
		yes := func(ctx context.Context) (int, error) {
			given = ctx
			return 7, nil
		}
		if _, err := policycall.Do(t.Context(), calls, policycall.Allow, yes); err != nil || given.Err() == nil {
			t.Errorf("%v, and the context goes on", err)
		}
		got, err := policycall.Do(t.Context(), calls, policycall.Allow, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return yes(ctx)
		})
		if got != 7 || err != nil || calls.Stats()["allow"].Outcomes["ok"] != 2 || said.Len() != 0 {
			t.Errorf("%d, %v, logged %s", got, err, said)
		}
	})
}

// What a policy does not answer is logged, and so is a panic that reaches no caller. While
// too many calls hang, no more are made.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, said := noted()
		calls, end := policycall.New(log), make(chan struct{})
		var wg sync.WaitGroup
		for i := range policycall.MaxLeft {
			wg.Go(func() {
				_, _ = policycall.Do(t.Context(), calls, policycall.Authenticate, func(context.Context) (int, error) {
					if <-end; i == 0 {
						panic("the host's")
					}
					return 0, nil
				})
			})
		}
		wg.Wait()
		if n := strings.Count(said.String(), "level=WARN"); n != policycall.MaxLeft || !strings.Contains(said.String(), "function=Authenticate") {
			t.Errorf("%d calls are logged", n)
		}
		said.Reset()
		began := time.Now()
		_, err := policycall.Do(t.Context(), calls, policycall.Allow, func(context.Context) (int, error) {
			t.Error("one more call")
			return 0, nil
		})
		if !errors.Is(err, bounded.ErrTemporary) || time.Since(began) != 0 || calls.Stats()["allow"].Outcomes["timeout"] != 1 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if !strings.Contains(said.String(), "level=WARN") {
			t.Errorf("logged %s", said)
		}
		said.Reset()
		close(end)
		if err := calls.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := strings.Count(said.String(), "level=ERROR"); n != 1 || !strings.Contains(said.String(), "the host's") {
			t.Errorf("%d panics are logged", n)
		}
	})
}
