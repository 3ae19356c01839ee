package realtime_test

import (
	"context"
	"iter"
	"sync"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// script is a backend whose next call of a method fails with an error.
type script struct {
	backend.Backend
	mu     sync.Mutex
	errors map[string]error
	end    context.CancelFunc // of the call of Follow
}

func (b *script) fail(method string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.errors = map[string]error{method: err}; method == "follow" {
		b.end()
	}
}

func (b *script) next(method string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.errors[method]
	delete(b.errors, method)
	return err
}

func (b *script) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if err := b.next("append"); err != nil {
		return backend.Position{}, err
	}
	return b.Backend.Append(ctx, e)
}

func (b *script) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	b.mu.Lock()
	ctx, b.end = context.WithCancel(ctx)
	b.mu.Unlock()
	err := b.Backend.Follow(ctx, after, sink)
	if told := b.next("follow"); told != nil {
		return told
	}
	return err
}

func (b *script) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	if err := b.next("read"); err != nil {
		return backend.Page{}, err
	}
	return b.Backend.Read(ctx, after, limit)
}

func (b *script) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	if err := b.next("get"); err != nil {
		return backend.Item{}, err
	}
	return b.Backend.Get(ctx, k)
}

func (b *script) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if err := b.next("list"); err != nil {
		return func(yield func(backend.Item, error) bool) { yield(backend.Item{}, err) }
	}
	return b.Backend.List(ctx, kind, group)
}

func (b *script) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if err := b.next("put"); err != nil {
		return 0, err
	}
	return b.Backend.Put(ctx, w)
}

func (b *script) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	if err := b.next("delete"); err != nil {
		return err
	}
	return b.Backend.Delete(ctx, k, rev, e)
}

func (b *script) SingleProcess() bool { return true }

func scripted(act func(h *host, b *script)) func(t *testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		b := &script{Backend: realtime.NewMemory()}
		h := start(t, open(), &realtime.Options{Backend: b})
		return h, func() { act(h, b) }
	}
}
