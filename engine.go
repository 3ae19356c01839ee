package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/memory"
	"github.com/maravilla-realtime/realtime/internal/timely"
)

// callTime is how long a call of the backend may take where its caller sets no
// deadline. What waits for one, and is promised to end within 5 s, does.
const callTime = 4 * time.Second

// leftBehind is how many calls of one kind may go on after their time is over.
const leftBehind = 256

// engine is the backend as all of this package uses it: each call of it has a
// deadline, and returns soon after, whether the driver obeys or not.
type engine struct {
	driver backend.Backend
	log    *slog.Logger
	memory *memory.Backend // the driver, if it is that, which obeys

	// of each kind, so that no kind is refused because of another one
	follows, appends, joins, leaves, touches, reads, sweeps, groups, closes *timely.Calls
}

var _ backend.Backend = (*engine)(nil)

func newEngine(driver backend.Backend, log *slog.Logger) *engine {
	lost := func(p *timely.Panicked) {
		log.Error("realtime: panic in a call of the backend that had been given up", "panic", p.Value, "stack", string(p.Stack))
	}
	calls := func() *timely.Calls { return timely.New(leftBehind, lost) }
	own, _ := driver.(*memory.Backend)
	return &engine{
		driver: driver, log: log, memory: own, follows: calls(), appends: calls(), joins: calls(), leaves: calls(),
		touches: calls(), reads: calls(), sweeps: calls(), groups: calls(), closes: calls(),
	}
}

// call calls f, and returns within the time that ctx has, or within callTime.
func call[T any](ctx context.Context, e *engine, calls *timely.Calls, f func(context.Context) (T, error)) (T, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTime)
		defer cancel()
	}
	if e.memory != nil {
		return f(ctx)
	}
	return timely.Do(ctx, calls, f)
}

// read is call for what changes nothing. An error that matches [ErrTemporary] says
// that there was no answer in time.
func read[T any](ctx context.Context, e *engine, calls *timely.Calls, f func(context.Context) (T, error)) (T, error) {
	value, err := call(ctx, e, calls, f)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, timely.ErrBusy) || errors.Is(err, timely.ErrLeft) {
		err = fmt.Errorf("%w: the backend did not answer in time: %w", ErrTemporary, err)
	}
	return value, err
}

// write is read for what may have happened although there was no answer: then the
// error matches [backend.ErrUnknown] instead.
func write[T any](ctx context.Context, e *engine, calls *timely.Calls, f func(context.Context) (T, error)) (T, error) {
	value, err := read(ctx, e, calls, f)
	if errors.Is(err, timely.ErrLeft) {
		cause := context.Cause(ctx) // of the caller's, if it is that which ended
		if cause == nil {
			cause = context.DeadlineExceeded
		}
		err = fmt.Errorf("%w: the backend did not answer in time: %w", backend.ErrUnknown, cause)
	}
	return value, err
}

// do is write for what returns an error only.
func (e *engine) do(ctx context.Context, calls *timely.Calls, f func(context.Context) error) error {
	_, err := write(ctx, e, calls, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// Append implements [backend.Log].
func (e *engine) Append(ctx context.Context, entry backend.Entry) (backend.Position, error) {
	if e.memory != nil && ctx.Err() == nil { // no deadline is needed for what does not wait
		if pos, ok, err := e.memory.TryAppend(entry); ok {
			return pos, err
		}
	}
	return write(ctx, e, e.appends, func(ctx context.Context) (backend.Position, error) { return e.driver.Append(ctx, entry) })
}

// Follow implements [backend.Log]. It lasts as long as ctx.
func (e *engine) Follow(ctx context.Context, after backend.Position, sink func([]*backend.Record)) error {
	if e.memory != nil {
		return e.driver.Follow(ctx, after, sink)
	}
	_, err := timely.Do(ctx, e.follows, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.driver.Follow(ctx, after, func(recs []*backend.Record) {
			if ctx.Err() == nil { // else another call has perhaps taken over
				sink(recs)
			}
		})
	})
	return err
}

// Read implements [backend.Log].
func (e *engine) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	return read(ctx, e, e.reads, func(ctx context.Context) (backend.Page, error) { return e.driver.Read(ctx, after, limit) })
}

// Join implements [backend.Presence].
func (e *engine) Join(ctx context.Context, s backend.Session) error {
	return e.do(ctx, e.joins, func(ctx context.Context) error { return e.driver.Join(ctx, s) })
}

// Leave implements [backend.Presence].
func (e *engine) Leave(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
	return e.do(ctx, e.leaves, func(ctx context.Context) error { return e.driver.Leave(ctx, key, d) })
}

// Touch implements [backend.Presence].
func (e *engine) Touch(ctx context.Context, channel, user string) error {
	return e.do(ctx, e.touches, func(ctx context.Context) error { return e.driver.Touch(ctx, channel, user) })
}

// Members implements [backend.Presence].
func (e *engine) Members(ctx context.Context, channel string) ([]backend.Member, error) {
	return read(ctx, e, e.reads, func(ctx context.Context) ([]backend.Member, error) { return e.driver.Members(ctx, channel) })
}

// PresentChannels implements [backend.Presence].
func (e *engine) PresentChannels(ctx context.Context) ([]string, error) {
	return read(ctx, e, e.reads, e.driver.PresentChannels)
}

// Sweep implements [backend.Presence].
func (e *engine) Sweep(ctx context.Context, node string, ttl time.Duration) (time.Duration, error) {
	return write(ctx, e, e.sweeps, func(ctx context.Context) (time.Duration, error) { return e.driver.Sweep(ctx, node, ttl) })
}

// ClaimGroup implements [backend.Groups].
func (e *engine) ClaimGroup(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
	return write(ctx, e, e.groups, func(ctx context.Context) (backend.Progress, error) {
		return e.driver.ClaimGroup(ctx, group, node, ttl)
	})
}

// CommitGroup implements [backend.Groups].
func (e *engine) CommitGroup(ctx context.Context, group, node string, p backend.Progress) error {
	return e.do(ctx, e.groups, func(ctx context.Context) error { return e.driver.CommitGroup(ctx, group, node, p) })
}

// ReleaseGroup implements [backend.Groups].
func (e *engine) ReleaseGroup(ctx context.Context, group, node string) error {
	return e.do(ctx, e.groups, func(ctx context.Context) error { return e.driver.ReleaseGroup(ctx, group, node) })
}

// SingleProcess implements [backend.SingleProcess] as the driver does.
func (e *engine) SingleProcess() bool {
	single, ok := e.driver.(backend.SingleProcess)
	return ok && single.SingleProcess()
}

// Close implements [backend.Backend]. What was left behind returns by now, if it is
// ever to.
func (e *engine) Close(ctx context.Context) error {
	if e.memory != nil {
		return e.driver.Close(ctx)
	}
	_, err := timely.Do(ctx, e.closes, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.driver.Close(ctx) })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoment)
	defer cancel()
	for _, calls := range e.all() {
		if calls.Wait(last) != nil {
			e.log.Warn("realtime: the backend does not return from a call that was given up")
			break
		}
	}
	return err
}

// lastMoment is how long Close waits for calls of the backend that were given up.
const lastMoment = 250 * time.Millisecond

func (e *engine) all() []*timely.Calls {
	return []*timely.Calls{e.follows, e.appends, e.joins, e.leaves, e.touches, e.reads, e.sweeps, e.groups, e.closes}
}
