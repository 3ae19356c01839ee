package kv

import (
	"context"
	"time"

	"github.com/maravilla-realtime/realtime/internal/publish/detach"
)

// engineTime is how long a call of an engine may take.
const engineTime = 10 * time.Second

// bounded is an engine whose calls have deadlines of their own. A write does not
// begin if the caller's context has ended. Once begun, it does not depend on that
// context: otherwise its outcome would be unknown.
type bounded struct{ engine Engine }

func (b bounded) Get(ctx context.Context, namespace, key string) (e Entry, err error) {
	err = detach.Read(ctx, engineTime, func(ctx context.Context) error {
		e, err = b.engine.Get(ctx, namespace, key)
		return err
	})
	return e, err
}

func (b bounded) Put(ctx context.Context, e Entry) error {
	return detach.Write(ctx, engineTime, func(ctx context.Context) error { return b.engine.Put(ctx, e) })
}

func (b bounded) Delete(ctx context.Context, namespace, key string) error {
	return detach.Write(ctx, engineTime, func(ctx context.Context) error { return b.engine.Delete(ctx, namespace, key) })
}

func (b bounded) List(ctx context.Context, namespace, prefix, after string, limit int) (list []Entry, err error) {
	err = detach.Read(ctx, engineTime, func(ctx context.Context) error {
		list, err = b.engine.List(ctx, namespace, prefix, after, limit)
		return err
	})
	return list, err
}

func (b bounded) Expiring(ctx context.Context, limit int) (list []Entry, err error) {
	err = detach.Read(ctx, engineTime, func(ctx context.Context) error {
		list, err = b.engine.Expiring(ctx, limit)
		return err
	})
	return list, err
}
