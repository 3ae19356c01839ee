package realtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A gate that is closed waits for those who are in, and no longer.
func TestGate(t *testing.T) {
	closing := func(t *testing.T, g *gate, limit time.Duration) time.Duration {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		began := time.Now()
		g.close(ctx)
		return time.Since(began)
	}
	enter := func(t *testing.T, g *gate) {
		t.Helper()
		if err := g.enter(); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]func(*testing.T, *gate){
		"nobody is in": func(t *testing.T, g *gate) {
			enter(t, g)
			g.leave()
			if took := closing(t, g, time.Minute); took != 0 {
				t.Errorf("closed after %v", took)
			}
		},
		"the last one leaves": func(t *testing.T, g *gate) {
			for after := range 3 {
				enter(t, g)
				time.AfterFunc(time.Duration(after+1)*time.Second, g.leave)
			}
			if took := closing(t, g, time.Minute); took != 3*time.Second {
				t.Errorf("closed after %v, want when the last one has left", took)
			}
		},
		"somebody stays": func(t *testing.T, g *gate) {
			enter(t, g)
			if took := closing(t, g, time.Minute); took != time.Minute {
				t.Errorf("closed after %v, want when the time is over", took)
			}
			g.leave()
		},
		"somebody comes late": func(t *testing.T, g *gate) {
			closing(t, g, time.Minute)
			if err := g.enter(); !errors.Is(err, ErrClosed) || !g.isShut() {
				t.Errorf("let in with %v; shut: %v", err, g.isShut())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, new(gate)) })
		})
	}
}
