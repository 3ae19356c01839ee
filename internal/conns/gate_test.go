package conns

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A gate that is closed waits for those who are in, and no longer.
func TestGate(t *testing.T) {
	closing := func(t *testing.T, g *Gate, limit time.Duration) time.Duration {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		began := time.Now()
		g.Close(ctx)
		return time.Since(began)
	}
	enter := func(t *testing.T, g *Gate) {
		t.Helper()
		if !g.Enter() {
			t.Fatal("an open gate lets nobody in")
		}
	}
	for name, f := range map[string]func(*testing.T, *Gate){
		"nobody is in": func(t *testing.T, g *Gate) {
			enter(t, g)
			g.Leave()
			if took := closing(t, g, time.Minute); took != 0 {
				t.Errorf("closed after %v", took)
			}
		},
		"the last one leaves": func(t *testing.T, g *Gate) {
			for after := range 3 {
				enter(t, g)
				time.AfterFunc(time.Duration(after+1)*time.Second, g.Leave)
			}
			if took := closing(t, g, time.Minute); took != 3*time.Second {
				t.Errorf("closed after %v, want when the last one has left", took)
			}
		},
		"somebody stays": func(t *testing.T, g *Gate) {
			enter(t, g)
			if took := closing(t, g, time.Minute); took != time.Minute {
				t.Errorf("closed after %v, want when the time is over", took)
			}
			g.Leave()
		},
		"somebody comes late": func(t *testing.T, g *Gate) {
			closing(t, g, time.Minute)
			if g.Enter() || !g.IsClosed() {
				t.Errorf("let in; closed: %v", g.IsClosed())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, new(Gate)) })
		})
	}
}
