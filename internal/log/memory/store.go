package memory

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
)

// store implements [backend.Store]. The lock of the log guards it, so that a change
// and its entry are one step.
type store struct {
	log *eventLog

	kinds map[string]map[string]map[string]backend.Item // by kind, group and name
	last  backend.Revision
}

func newStore(l *eventLog) *store {
	// Revisions must differ from those of an earlier process, like positions.
	return &store{log: l, kinds: make(map[string]map[string]map[string]backend.Item), last: backend.Revision(l.epoch)}
}

// Get implements [backend.Store].
func (s *store) Get(ctx context.Context, k backend.Key) (it backend.Item, err error) {
	if err := ctx.Err(); err != nil {
		return it, err
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if s.log.closed {
		return it, backend.ErrClosed
	}
	if it = s.kinds[k.Kind][k.Group][k.Name]; it.Revision == 0 {
		it.Key = k
	}
	return it, nil
}

// List implements [backend.Store]. It yields the records as they are when it begins.
func (s *store) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	return func(yield func(backend.Item, error) bool) {
		items, err := s.list(ctx, kind, group)
		if err != nil {
			yield(backend.Item{}, err)
			return
		}
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

func (s *store) list(ctx context.Context, kind, group string) (items []backend.Item, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if s.log.closed {
		return nil, backend.ErrClosed
	}
	if group != "" {
		return slices.Collect(maps.Values(s.kinds[kind][group])), nil
	}
	for _, names := range s.kinds[kind] {
		items = slices.AppendSeq(items, maps.Values(names))
	}
	return items, nil
}

// Put implements [backend.Store].
func (s *store) Put(ctx context.Context, w backend.Write) (rev backend.Revision, err error) {
	if len(w.Value) > backend.MaxValue {
		return 0, backend.ErrTooLarge
	}
	err = s.log.whenRoom(ctx, func() error {
		if err := s.step(w.Key, w.If, w.Append); err != nil {
			return err
		}
		rev = s.last
		groups := s.kinds[w.Kind]
		if groups == nil {
			groups = make(map[string]map[string]backend.Item)
			s.kinds[w.Kind] = groups
		}
		if groups[w.Group] == nil {
			groups[w.Group] = make(map[string]backend.Item)
		}
		groups[w.Group][w.Name] = backend.Item{Key: w.Key, Value: w.Value, Revision: rev}
		return nil
	})
	return rev, err
}

// Delete implements [backend.Store].
func (s *store) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
	if ifRevision == 0 {
		return errors.New("memory: Delete without a revision")
	}
	return s.log.whenRoom(ctx, func() error {
		if err := s.step(k, ifRevision, e); err != nil {
			return err
		}
		groups := s.kinds[k.Kind]
		if delete(groups[k.Group], k.Name); len(groups[k.Group]) == 0 {
			delete(groups, k.Group)
		}
		return nil
	})
}

// step begins a change of the record of k: it takes a revision, and appends the
// entry. After an error nothing has changed.
func (s *store) step(k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
	if s.kinds[k.Kind][k.Group][k.Name].Revision != ifRevision {
		return backend.ErrConflict
	}
	if e != nil {
		if _, err := s.log.append(*e, s.last+1); err != nil {
			return err
		}
	}
	s.last++
	return nil
}
