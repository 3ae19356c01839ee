package bounded

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/jitter"
)

// Again repeats what a node needs of a backend that does not answer yet, or has lost its
// leader for a moment, until it is done, the backend is closed, or ctx ends. It returns
// the last error.
func Again(ctx context.Context, log *slog.Logger, do func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := do()
		if err == nil || errors.Is(err, backend.ErrClosed) {
			return err
		}
		log.Debug("realtime: the backend is not ready; trying again", "error", err)
		select {
		case <-time.After(jitter.Half(wait)):
		case <-ctx.Done():
			return err
		}
	}
}
