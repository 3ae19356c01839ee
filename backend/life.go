package backend

import (
	"context"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
)

// Life is the life of a backend, with which the calls of its methods end. It is for
// backends: a Life is made by [NewLife], and its methods may be called concurrently.
type Life struct {
	ctx  context.Context
	end  context.CancelFunc
	once sync.Once
}

// NewLife returns a Life that lasts until End.
func NewLife() *Life {
	var l Life
	l.ctx, l.end = context.WithCancel(context.Background())
	return &l
}

// End ends the life and the contexts of all calls, and then calls release, the first
// time that it is called.
func (l *Life) End(release func()) {
	l.once.Do(func() {
		l.end()
		release()
	})
}

// Ended reports whether End was called.
func (l *Life) Ended() bool { return l.ctx.Err() != nil }

// Context ends with the life.
func (l *Life) Context() context.Context { return l.ctx }

// Call returns a context for one call of a method, which also ends with the life. The
// method must call done when it returns. Errors: [ErrClosed], and that of ctx.
func (l *Life) Call(ctx context.Context) (_ context.Context, done context.CancelFunc, err error) {
	if l.Ended() {
		return nil, nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// Unanswered is the error of a change that was not answered, for the reason err: it matches
// [ErrMaybeStored], and [ErrClosed] if the life has ended.
func (l *Life) Unanswered(err error) error {
	if l.Ended() {
		err = ErrClosed
	}
	return fault.Errorf("%w: %w", ErrMaybeStored, err)
}

// Pause waits for d between two attempts within a call. Errors, where there is to be no
// other attempt: [ErrClosed], and that of ctx.
func (l *Life) Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		if l.Ended() {
			return ErrClosed
		}
		return ctx.Err()
	}
}
