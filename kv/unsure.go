package kv

import (
	"context"
	"errors"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
)

// unsurePut returns the error of a Put after the engine has failed. If the value is
// stored despite that, or the engine does not answer, it announces the put, so that
// clients read the key.
func (s *Store) unsurePut(ctx context.Context, e Entry, cause error) error {
	cause = fault.Errorf("kv: put: %w", cause)
	found, err := s.look(ctx, e.Namespace, e.Key)
	if err == nil && found.Version != e.Version {
		return cause
	}
	s.expect(e.Expires)
	return errors.Join(cause, s.announce(ctx, realtime.KVPut(e.Namespace, e.Key).WithVersion(e.Version)))
}

// unsureDelete does the same for a Delete of old. If the engine does not answer, it
// announces a put, so that clients read the key. If a repeated Delete finds that the
// first one has happened, it announces the deletion.
func (s *Store) unsureDelete(ctx context.Context, old Entry, cause error) error {
	cause = fault.Errorf("kv: delete: %w", cause)
	deleted := realtime.KVDelete(old.Namespace, old.Key)
	_, err := s.look(ctx, old.Namespace, old.Key)
	if errors.Is(err, ErrNotFound) {
		return errors.Join(cause, s.announce(ctx, deleted.WithVersion(s.versions.next(old.Version))))
	}
	var announced error
	if err != nil {
		perhaps := realtime.KVPut(old.Namespace, old.Key).WithVersion(s.versions.next(old.Version))
		announced = s.announce(ctx, perhaps)
	}
	s.events.MaybeWritten(ctx, join(old.Namespace, old.Key), deleted.WithVersion(s.versions.next(old.Version)))
	return errors.Join(cause, announced)
}

// look reads the entry after a write that has failed. It does not depend on the
// caller's context.
func (s *Store) look(ctx context.Context, namespace, key string) (Entry, error) {
	return s.engine.Get(context.WithoutCancel(ctx), namespace, key)
}
