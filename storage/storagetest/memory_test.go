package storagetest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime/storage"
)

// memory is a good store.
type memory struct {
	mu      sync.Mutex
	objects map[string]stored
	writes  int
}

type stored struct {
	content []byte
	info    storage.Info
}

func newMemory() *memory { return &memory{objects: map[string]stored{}} }

func (m *memory) Put(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
	if err := ctx.Err(); err != nil {
		return storage.Info{}, false, err
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return storage.Info{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	_, had := m.objects[path]
	info := storage.Info{Path: path, Size: int64(len(content)), Type: typ, Version: fmt.Sprint("v", m.writes)}
	m.objects[path] = stored{content, info}
	return info, !had, nil
}

func (m *memory) Delete(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[path]; !ok {
		return storage.ErrNotFound
	}
	delete(m.objects, path)
	return nil
}

type reader struct{ io.ReadSeeker }

func (reader) Close() error { return nil }

func (m *memory) Open(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, storage.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[path]
	if !ok {
		return nil, storage.Info{}, storage.ErrNotFound
	}
	return reader{bytes.NewReader(o.content)}, o.info, nil
}

func (m *memory) List(ctx context.Context, prefix, cursor string, limit int) (list []storage.Info, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for path, o := range m.objects {
		if strings.HasPrefix(path, prefix) && path > cursor {
			list = append(list, o.info)
		}
	}
	slices.SortFunc(list, func(a, b storage.Info) int { return strings.Compare(a.Path, b.Path) })
	if len(list) > limit {
		return list[:limit], list[limit-1].Path, nil
	}
	return list, "", nil
}

// broken is a good store with some methods replaced.
type broken struct {
	*memory
	put    func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error)
	delete func(ctx context.Context, path string) error
	open   func(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error)
	list   func(ctx context.Context, prefix, cursor string, limit int) ([]storage.Info, string, error)
}

func (b *broken) Put(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
	if b.put != nil {
		return b.put(ctx, path, typ, body)
	}
	return b.memory.Put(ctx, path, typ, body)
}

func (b *broken) Delete(ctx context.Context, path string) error {
	if b.delete != nil {
		return b.delete(ctx, path)
	}
	return b.memory.Delete(ctx, path)
}

func (b *broken) Open(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
	if b.open != nil {
		return b.open(ctx, path)
	}
	return b.memory.Open(ctx, path)
}

func (b *broken) List(ctx context.Context, prefix, cursor string, limit int) ([]storage.Info, string, error) {
	if b.list != nil {
		return b.list(ctx, prefix, cursor, limit)
	}
	return b.memory.List(ctx, prefix, cursor, limit)
}
