package bounded

import (
	"context"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/host/timely"
	"github.com/maravilla-realtime/realtime/internal/metric"
)

// Stats is what a Backend has counted.
type Stats struct {
	Methods   map[string]metric.CallStats // by name, in lower case
	Abandoned int                         // calls that have not returned although their time is over
}

// method is a method of the inner backend: its calls, and what is counted of them.
type method struct {
	*timely.Calls
	tally *metric.Calls
}

// The outcomes of calls that read, of Append, and of other changes. All others are
// errors.
var (
	readOutcomes   = []string{"ok", "timeout", "canceled", "closed"}
	appendOutcomes = append([]string{"maybe_stored", "too_large"}, readOutcomes...)
	changeOutcomes = append([]string{"conflict"}, appendOutcomes...)
)

func newMethod(lost func(*timely.Panicked), outcomes ...string) *method {
	return &method{timely.New(leftRunning, lost), metric.NewCalls("error", outcomes...)}
}

// done notes the end of a call, and returns its results.
func done[T any](m *method, began time.Time, value T, err error) (T, error) {
	m.tally.Done(began, Outcome(err))
	return value, err
}

// Outcome names the result of a call.
func Outcome(err error) string {
	if err == nil {
		return "ok"
	}
	var lost *backend.LostError
	switch {
	case errors.Is(err, backend.ErrConflict):
		return "conflict"
	case errors.Is(err, backend.ErrMaybeStored):
		return "maybe_stored"
	case errors.Is(err, backend.ErrTooLarge):
		return "too_large"
	case errors.Is(err, backend.ErrClosed):
		return "closed"
	case errors.Is(err, ErrTemporary), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &lost):
		return "lost"
	}
	return "error"
}

func (b *Backend) methods() map[string]*method {
	return map[string]*method{
		"follow": b.follows, "append": b.appends, "read": b.reads, "get": b.gets, "list": b.lists, "put": b.puts, "delete": b.deletes,
	}
}

// Stats returns what was counted so far.
func (b *Backend) Stats() Stats {
	s := Stats{Methods: make(map[string]metric.CallStats)}
	for name, m := range b.methods() {
		s.Methods[name] = m.tally.Stats()
		s.Abandoned += m.Left()
	}
	return s
}
