package kv

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// memory is the engine in the memory of the process.
type memory struct {
	mu     sync.RWMutex
	byKey  ordered
	byTime ordered // those that expire
}

// NewMemory returns an engine that keeps entries in memory. It has no limit: give
// entries that should not stay a TTL.
func NewMemory() Engine {
	return &memory{byKey: ordered{compare: byKey}, byTime: ordered{compare: byTime}}
}

func byKey(a, b *Entry) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Key, b.Key))
}

func byTime(a, b *Entry) int { return cmp.Or(a.Expires.Compare(b.Expires), byKey(a, b)) }

func (m *memory) Get(ctx context.Context, namespace, key string) (Entry, error) {
	if err := ctx.Err(); err != nil {
		return Entry{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	e := m.byKey.get(&Entry{Namespace: namespace, Key: key})
	if e == nil {
		return Entry{}, ErrNotFound
	}
	return e.clone(), nil
}

func (m *memory) Put(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e = e.clone()
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.byKey.put(&e); old != nil && !old.Expires.IsZero() {
		m.byTime.remove(old)
	}
	if !e.Expires.IsZero() {
		m.byTime.put(&e)
	}
	return nil
}

func (m *memory) Delete(ctx context.Context, namespace, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.byKey.remove(&Entry{Namespace: namespace, Key: key}); old != nil {
		m.byTime.remove(old)
	}
	return nil
}

func (m *memory) List(ctx context.Context, namespace, prefix, after string, limit int) (list []Entry, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for e := range m.byKey.from(&Entry{Namespace: namespace, Key: max(prefix, after)}) {
		if len(list) == limit || e.Namespace != namespace || !strings.HasPrefix(e.Key, prefix) {
			break
		}
		if e.Key > after {
			list = append(list, e.clone())
		}
	}
	return list, nil
}

func (m *memory) Expiring(ctx context.Context, limit int) (list []Entry, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for e := range m.byTime.from(&Entry{}) {
		if len(list) == limit {
			break
		}
		found := *e
		found.Value = nil
		list = append(list, found)
	}
	return list, nil
}

func (e *Entry) clone() Entry {
	c := *e
	c.Value = bytes.Clone(e.Value)
	return c
}

// chunkMax bounds what an insertion has to move.
const chunkMax = 512

// ordered is a sorted set of entries, in chunks of which none is empty.
type ordered struct {
	compare func(a, b *Entry) int
	chunks  [][]*Entry
}

// find returns the place of e, or the place at which it would be inserted.
func (o *ordered) find(e *Entry) (chunk, at int, found bool) {
	chunk, _ = slices.BinarySearchFunc(o.chunks, e, func(c []*Entry, e *Entry) int { return o.compare(c[len(c)-1], e) })
	if chunk == len(o.chunks) {
		return chunk, 0, false
	}
	at, found = slices.BinarySearchFunc(o.chunks[chunk], e, o.compare)
	return chunk, at, found
}

func (o *ordered) get(e *Entry) *Entry {
	chunk, at, found := o.find(e)
	if !found {
		return nil
	}
	return o.chunks[chunk][at]
}

// put adds e and returns the entry whose place it takes, or nil.
func (o *ordered) put(e *Entry) (old *Entry) {
	chunk, at, found := o.find(e)
	switch {
	case found:
		old = o.chunks[chunk][at]
		o.chunks[chunk][at] = e
		return old
	case len(o.chunks) == 0:
		o.chunks = [][]*Entry{{e}}
		return nil
	case chunk == len(o.chunks): // after the last one
		chunk--
		at = len(o.chunks[chunk])
	}
	c := slices.Insert(o.chunks[chunk], at, e)
	o.chunks[chunk] = c
	if len(c) > chunkMax {
		half := len(c) / 2
		o.chunks = slices.Insert(o.chunks, chunk+1, slices.Clone(c[half:]))
		clear(c[half:]) // lets go of what has moved
		o.chunks[chunk] = c[:half]
	}
	return nil
}

// remove removes and returns what is equal to e, or nil.
func (o *ordered) remove(e *Entry) (old *Entry) {
	chunk, at, found := o.find(e)
	if !found {
		return nil
	}
	old = o.chunks[chunk][at]
	o.chunks[chunk] = slices.Delete(o.chunks[chunk], at, at+1)
	if len(o.chunks[chunk]) == 0 {
		o.chunks = slices.Delete(o.chunks, chunk, chunk+1)
	}
	return old
}

// from yields what is not less than e, in order.
func (o *ordered) from(e *Entry) func(yield func(*Entry) bool) {
	return func(yield func(*Entry) bool) {
		chunk, at, _ := o.find(e)
		for ; chunk < len(o.chunks); chunk, at = chunk+1, 0 {
			for _, e := range o.chunks[chunk][at:] {
				if !yield(e) {
					return
				}
			}
		}
	}
}
