package kv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/publish/outbox"
)

const (
	// reapBatch bounds what the janitor holds in memory.
	reapBatch = 100
	// maxSleep is the longest sleep of the janitor. Another process may store entries
	// in the same engine meanwhile.
	maxSleep = time.Minute
	// firstRetry is the pause after a failure, doubled up to maxSleep.
	firstRetry = time.Second
)

// janitor ends expired entries until ctx ends.
func (s *Store) janitor(ctx context.Context) {
	for retry := firstRetry; ctx.Err() == nil; {
		s.plan(time.Time{}) // entries that are put meanwhile wake it
		next, err := s.reap(ctx)
		wait := maxSleep
		switch {
		case ctx.Err() != nil, errors.Is(err, realtime.ErrClosed):
			return // what has expired by then is announced when the next Store begins
		case err != nil:
			s.log.Error("kv: cannot end expired entries; trying again", "error", err, "after", retry)
			wait, retry = retry, min(2*retry, maxSleep)
		case !next.IsZero():
			wait, retry = min(time.Until(next), maxSleep), firstRetry
		default:
			retry = firstRetry
		}
		s.plan(time.Now().Add(wait))
		s.sleep(ctx, wait)
	}
}

func (s *Store) sleep(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.wake:
	case <-ctx.Done():
	}
}

func (s *Store) plan(visit time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visit = visit
}

// expect makes the janitor look at the given time; zero is never.
func (s *Store) expect(at time.Time) {
	s.mu.Lock()
	sooner := !at.IsZero() && (s.visit.IsZero() || at.Before(s.visit))
	s.mu.Unlock()
	if !sooner {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is being woken already
	}
}

// reap ends a batch of expired entries. It returns when the next entry expires (zero:
// never), and the first error. After an error it continues with the other entries.
func (s *Store) reap(ctx context.Context) (next time.Time, first error) {
	entries, err := s.engine.Expiring(ctx, reapBatch)
	if err != nil {
		return time.Time{}, err
	}
	for _, e := range entries {
		if !e.expired(time.Now()) {
			return e.Expires, first
		}
		if err := s.end(ctx, e.Namespace, e.Key); first == nil {
			first = err
		}
	}
	if len(entries) == reapBatch {
		next = time.Now()
	}
	return next, first
}

// end announces and deletes the entry of a key, if it has expired and is still there.
func (s *Store) end(ctx context.Context, namespace, key string) error {
	unlock, err := s.lock(ctx, namespace, key)
	if err != nil {
		return err
	}
	defer unlock()
	_, state, err := s.current(ctx, namespace, key)
	if state != expired {
		return err
	}
	if err := s.engine.Delete(ctx, namespace, key); err != nil {
		return fault.Errorf("kv: delete an expired entry: %w", err)
	}
	return nil
}

// announceExpiry emits the expiry of e. The event has no client, but if ctx is that of
// a handler, it counts as caused by it, and Close waits for it. Its id makes it one
// event even if the deletion fails, or another process announces the same.
func (s *Store) announceExpiry(ctx context.Context, e Entry) error {
	name := join(e.Namespace, e.Key)
	if err := s.events.Flush(name); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(name + "\x00" + e.Version))
	ev := realtime.KVExpired(e.Namespace, e.Key).WithVersion(s.versions.next(e.Version))
	return outbox.Emit(ctx, s.pub, ev, "kv.expired:"+hex.EncodeToString(sum[:]), realtime.FromClient(""))
}
