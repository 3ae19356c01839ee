// Package keylock locks by key: whoever writes one key and announces it does so
// under its lock, and the order of the events is that of the writes.
package keylock

import (
	"context"
	"slices"
	"sync"
)

// Locks is a lock for each key there could be. It holds memory for those only
// that are locked. The zero Locks is ready for use, and must not be copied.
type Locks struct {
	mu sync.Mutex
	// waiting has the keys that are locked, each with those who wait for it, the
	// first in line first. A lock is handed over by closing the channel.
	waiting map[string][]chan struct{}
}

// Lock waits until all keys are locked and returns the function that unlocks
// them, to be called once. If ctx ends before that, no key stays locked and the
// error is that of ctx. A key is given to those who wait for it in the order they
// came. Keys are locked in their sort order, a repeated one once, so that callers
// do not wait for each other in a circle, as long as none locks again before it
// has unlocked.
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

// join locks key if nobody has it, and otherwise gets in line: then turn will be
// closed.
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

// giveUp leaves the line, or hands the lock on if it came at that very moment.
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

// next hands the lock of key to the first in line, or ends it.
func (l *Locks) next(key string) {
	line := l.waiting[key]
	if len(line) == 0 {
		delete(l.waiting, key)
		return
	}
	close(line[0])
	l.waiting[key] = line[1:]
}
