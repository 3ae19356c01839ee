package bounded

import (
	"errors"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/refused"
)

// The errors of the API that are those of a backend: see [Public].
var (
	// ErrClosed: the library, or the backend, was closed.
	ErrClosed = errors.New("realtime: closed")
	// ErrMaybeStored: the backend did not say in time whether it has stored an event.
	ErrMaybeStored = errors.New("realtime: the event may have been stored")
)

// Public translates the errors of a backend into those of the API.
func Public(err error) error {
	switch {
	case errors.Is(err, backend.ErrClosed):
		return ErrClosed
	case errors.Is(err, backend.ErrMaybeStored):
		return fault.Errorf("%w: %w", ErrMaybeStored, err)
	case errors.Is(err, backend.ErrTooLarge):
		return fault.Errorf("%w: %w", refused.ErrTooLarge, err)
	}
	return err
}
