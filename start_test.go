package realtime_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// unready is a backend that answers from some time on.
type unready struct {
	backend.Backend
	from time.Time
}

var errUnready = errors.New("no leader")

func (b *unready) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	if time.Now().Before(b.from) {
		return backend.Page{}, errUnready
	}
	return b.Backend.Read(ctx, after, limit)
}

func (b *unready) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if time.Now().Before(b.from.Add(5 * time.Second)) {
		return 0, errUnready
	}
	return b.Backend.Put(ctx, w)
}

// A node that starts while the backend elects a leader waits for it, 30 s at most.
func TestNewWaitsForBackend(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  error
	}{{0, nil}, {20 * time.Second, nil}, {40 * time.Second, errUnready}} {
		synctest.Test(t, func(t *testing.T) {
			b := &unready{memory.New(memory.Limits{Records: 1000}), time.Now().Add(c.after)}
			began := time.Now()
			rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: b, Logger: slog.New(slog.DiscardHandler)})
			if !errors.Is(err, c.want) {
				t.Errorf("ready after %v: %v", c.after, err)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("ready after %v: New took %v", c.after, took)
			}
			if rt != nil {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := rt.Close(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
