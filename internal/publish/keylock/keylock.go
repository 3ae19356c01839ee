// Package keylock locks by key. A store writes a key and emits the event under the
// key's lock, so that the events come in the order of the writes.
package keylock

import (
	"context"
	"slices"
	"sync"
)

// Locks is a lock for every possible key. It uses memory only for keys that are
// locked. The zero Locks is ready for use, and must not be copied.
type Locks struct {
	mu sync.Mutex
	// waiting maps each locked key to the goroutines that wait for it, the first in
	// line first. Closing a goroutine's channel gives it the lock.
	waiting map[string][]chan struct{}
}

// Lock waits until all keys are locked and returns a function that unlocks
// them, which must be called once. If ctx ends before that, no key stays locked
// and the error is that of ctx. Callers get a key in the order of their calls. Keys
// are locked in their sort order, a repeated one once, so callers cannot deadlock,
// unless one calls Lock again before it has unlocked.
func (l *Locks) Lock(ctx context.Context, keys ...string) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(keys) > 1 {
		keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	}
	for i, key := range keys {
		if err := l.lock(ctx, key); err != nil {
			l.unlock(keys[:i])
			return nil, err
		}
	}
	return func() { l.unlock(keys) }, nil
}

func (l *Locks) lock(ctx context.Context, key string) error {
	turn := l.join(key)
	if turn == nil {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		l.giveUp(key, turn)
		return ctx.Err()
	}
}

// join locks key if it is free, and returns nil. Otherwise it gets in line and
// returns a channel that is closed when the caller has the lock.
func (l *Locks) join(key string) (turn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, locked := l.waiting[key]
	if locked {
		turn = make(chan struct{})
		line = append(line, turn)
	} else if l.waiting == nil {
		l.waiting = map[string][]chan struct{}{}
	}
	l.waiting[key] = line
	return turn
}

// giveUp leaves the line, or passes the lock on if it came in the meantime.
func (l *Locks) giveUp(key string, turn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.waiting[key]
	if i := slices.Index(line, turn); i >= 0 {
		l.waiting[key] = slices.Delete(line, i, i+1)
		return
	}
	l.next(key)
}

func (l *Locks) unlock(keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		l.next(key)
	}
}

// next passes the lock of key to the first in line, or frees it.
func (l *Locks) next(key string) {
	line := l.waiting[key]
	if len(line) == 0 {
		delete(l.waiting, key)
		return
	}
	close(line[0])
	l.waiting[key] = line[1:]
}
