package bounded

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
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

// storeMethod is a method of a store. Its calls about each kind of record are bounded apart:
// members that cannot be written must not keep a node from renewing its lease. The kinds
// are those of the library.
type storeMethod struct {
	tally *metric.Calls
	lost  func(*timely.Panicked)

	mu    sync.Mutex
	kinds map[string]*method
}

// of returns the method as it is called about a kind of record.
func (s *storeMethod) of(kind string) *method {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.kinds[kind]
	if m == nil {
		m = &method{timely.New(leftRunning, s.lost), s.tally}
		s.kinds[kind] = m
	}
	return m
}

// all yields the method as it was called about each kind.
func (s *storeMethod) all(yield func(*timely.Calls) bool) bool {
	s.mu.Lock()
	kinds := slices.Collect(maps.Values(s.kinds))
	s.mu.Unlock()
	for _, m := range kinds {
		if !yield(m.Calls) {
			return false
		}
	}
	return true
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

func newStoreMethod(lost func(*timely.Panicked), outcomes ...string) *storeMethod {
	return &storeMethod{tally: metric.NewCalls("error", outcomes...), lost: lost, kinds: make(map[string]*method)}
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

// allCalls yields the calls of all methods.
func (b *Backend) allCalls() iter.Seq[*timely.Calls] {
	return func(yield func(*timely.Calls) bool) {
		for _, m := range []*method{b.follows, b.appends, b.reads} {
			if !yield(m.Calls) {
				return
			}
		}
		for _, m := range []*storeMethod{b.gets, b.lists, b.puts, b.deletes} {
			if !m.all(yield) {
				return
			}
		}
	}
}

// Stats returns what was counted so far.
func (b *Backend) Stats() Stats {
	s := Stats{Methods: make(map[string]metric.CallStats)}
	for name, tally := range map[string]*metric.Calls{
		"follow": b.follows.tally, "append": b.appends.tally, "read": b.reads.tally,
		"get": b.gets.tally, "list": b.lists.tally, "put": b.puts.tally, "delete": b.deletes.tally,
	} {
		s.Methods[name] = tally.Stats()
	}
	for calls := range b.allCalls() {
		s.Abandoned += calls.Left()
	}
	return s
}
