package backendtest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// A broken backend is a good one with one method replaced.
type broken struct {
	backend.Backend
	append func(context.Context, backend.Entry) (backend.Position, error)
	follow func(context.Context, backend.Position, func([]backend.Record)) error
	read   func(context.Context, backend.Position, int) (backend.Page, error)
	get    func(context.Context, backend.Key) (backend.Item, error)
	list   func(context.Context, string, string) iter.Seq2[backend.Item, error]
	put    func(context.Context, backend.Write) (backend.Revision, error)
	delete func(context.Context, backend.Key, backend.Revision, *backend.Entry) error
}

func (b broken) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if b.append != nil {
		return b.append(ctx, e)
	}
	return b.Backend.Append(ctx, e)
}

func (b broken) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	if b.follow != nil {
		return b.follow(ctx, after, sink)
	}
	return b.Backend.Follow(ctx, after, sink)
}

func (b broken) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	if b.read != nil {
		return b.read(ctx, after, limit)
	}
	return b.Backend.Read(ctx, after, limit)
}

func (b broken) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	if b.get != nil {
		return b.get(ctx, k)
	}
	return b.Backend.Get(ctx, k)
}

func (b broken) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	if b.list != nil {
		return b.list(ctx, kind, group)
	}
	return b.Backend.List(ctx, kind, group)
}

func (b broken) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if b.put != nil {
		return b.put(ctx, w)
	}
	return b.Backend.Put(ctx, w)
}

func (b broken) Delete(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
	if b.delete != nil {
		return b.delete(ctx, k, ifRevision, e)
	}
	return b.Backend.Delete(ctx, k, ifRevision, e)
}

func forgetful(b backend.Backend) backend.Backend {
	f := NewFaulty(b)
	f.ForgetIDs()
	return f
}

func skipping(b backend.Backend) backend.Backend {
	f := NewFaulty(b)
	f.Skip(1)
	return f
}

// racy looks an id up and stores it in two steps.
func racy(b backend.Backend) backend.Backend {
	var mu sync.Mutex
	stored := map[string]backend.Position{}
	look := func(id string) backend.Position {
		mu.Lock()
		defer mu.Unlock()
		return stored[id]
	}
	return broken{Backend: b, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		id := e.ID
		if pos := look(id); id != "" && pos.Seq > 0 {
			return pos, nil
		}
		time.Sleep(time.Millisecond) // in virtual time: all the others look now
		e.ID = ""
		pos, err := b.Append(ctx, e)
		mu.Lock()
		defer mu.Unlock()
		stored[id] = pos
		return pos, err
	}}
}

// trimming stores data without the space around it.
func trimming(b backend.Backend) backend.Backend {
	return broken{Backend: b, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		e.Data = bytes.Trim(e.Data, "\x00\r\n")
		return b.Append(ctx, e)
	}}
}

// shifting delivers every entry at the position of the next one.
func shifting(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
		var prev backend.Entry
		return b.Follow(ctx, after, func(batch []backend.Record) {
			shifted := make([]backend.Record, len(batch))
			for i, r := range batch {
				prev, r.Entry = r.Entry, prev
				shifted[i] = r
			}
			sink(shifted)
		})
	}}
}

// liveOnly knows no history.
func liveOnly(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, _ backend.Position, sink func([]backend.Record)) error {
		now, err := head(ctx, b)
		if err != nil {
			return err
		}
		return b.Follow(ctx, now, sink)
	}}
}

// dropping has room for no more than one batch of 100 that waits for the sink.
func dropping(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
		return b.Follow(ctx, after, func(batch []backend.Record) {
			sink(batch[:min(100, len(batch))])
		})
	}}
}

// shameless goes on from the head where it should tell of a loss.
func shameless(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
		for {
			err := b.Follow(ctx, after, sink)
			var lost *backend.LostError
			if !errors.As(err, &lost) {
				return err
			}
			after = lost.Next
		}
	}}
}

// silent ends Follow without a word.
func silent(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
		_ = b.Follow(ctx, after, sink)
		return nil
	}}
}

// newest reads from the wrong end.
func newest(b backend.Backend) backend.Backend {
	return broken{Backend: b, read: func(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
		page, err := b.Read(ctx, after, 1000)
		page.Records = page.Records[max(0, len(page.Records)-limit):]
		return page, err
	}}
}

// lagging answers reads from a copy that is one call old.
func lagging(b backend.Backend) backend.Backend {
	var mu sync.Mutex
	var last backend.Page
	return broken{Backend: b, read: func(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
		page, err := b.Read(ctx, after, limit)
		mu.Lock()
		defer mu.Unlock()
		page.Head, last.Head = last.Head, page.Head
		return page, err
	}}
}

// deaf does not listen to contexts.
func deaf(b backend.Backend) backend.Backend {
	return broken{Backend: b, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		return b.Append(context.WithoutCancel(ctx), e)
	}}
}

// immortal does not close.
type immortal struct{ backend.Backend }

func (immortal) Close(context.Context) error { return nil }

// careless does not look at revisions.
func careless(b backend.Backend) backend.Backend {
	current := func(ctx context.Context, k backend.Key) backend.Revision {
		it, _ := b.Get(ctx, k)
		return it.Revision
	}
	return broken{
		Backend: b,
		put: func(ctx context.Context, w backend.Write) (backend.Revision, error) {
			w.If = current(ctx, w.Key)
			return b.Put(ctx, w)
		},
		delete: func(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
			return b.Delete(ctx, k, current(ctx, k), e)
		},
	}
}

// counting counts the writes of each record from one, as if there had been none of
// its name before.
func counting(b backend.Backend) backend.Backend {
	real := make(map[backend.Key][]backend.Revision) // what it calls 1, 2, …
	inside := func(k backend.Key, rev backend.Revision) backend.Revision {
		if rev == 0 || int(rev) > len(real[k]) {
			return rev * 1 << 60
		}
		return real[k][rev-1]
	}
	return broken{
		Backend: b,
		get: func(ctx context.Context, k backend.Key) (backend.Item, error) {
			it, err := b.Get(ctx, k)
			if it.Revision != 0 {
				it.Revision = backend.Revision(slices.Index(real[k], it.Revision) + 1)
			}
			return it, err
		},
		put: func(ctx context.Context, w backend.Write) (backend.Revision, error) {
			w.If = inside(w.Key, w.If)
			rev, err := b.Put(ctx, w)
			if err != nil {
				return 0, err
			}
			real[w.Key] = append(real[w.Key], rev)
			return backend.Revision(len(real[w.Key])), nil
		},
		delete: func(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
			err := b.Delete(ctx, k, inside(k, ifRevision), e)
			if err == nil {
				delete(real, k)
			}
			return err
		},
	}
}

// looking compares and writes in two steps.
func looking(b backend.Backend) backend.Backend {
	return broken{Backend: b, put: func(ctx context.Context, w backend.Write) (backend.Revision, error) {
		it, err := b.Get(ctx, w.Key)
		if err != nil {
			return 0, err
		}
		if it.Revision != w.If {
			return 0, backend.ErrConflict
		}
		time.Sleep(time.Millisecond) // in virtual time: all the others look now
		for {
			it, err := b.Get(ctx, w.Key)
			if err != nil {
				return 0, err
			}
			w.If = it.Revision
			if rev, err := b.Put(ctx, w); !errors.Is(err, backend.ErrConflict) {
				return rev, err
			}
		}
	}}
}

// joining makes one name of group and name.
func joining(b backend.Backend) backend.Backend {
	one := func(k backend.Key) backend.Key {
		return backend.Key{Kind: k.Kind, Group: "all", Name: k.Group + ":" + k.Name}
	}
	return broken{
		Backend: b,
		get: func(ctx context.Context, k backend.Key) (backend.Item, error) {
			it, err := b.Get(ctx, one(k))
			it.Key = k
			return it, err
		},
		put: func(ctx context.Context, w backend.Write) (backend.Revision, error) {
			w.Key = one(w.Key)
			return b.Put(ctx, w)
		},
		delete: func(ctx context.Context, k backend.Key, ifRevision backend.Revision, e *backend.Entry) error {
			return b.Delete(ctx, one(k), ifRevision, e)
		},
	}
}

// short lists one page.
func short(b backend.Backend) backend.Backend {
	return broken{Backend: b, list: func(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
		return func(yield func(backend.Item, error) bool) {
			n := 0
			for it, err := range b.List(ctx, kind, group) {
				if n++; n > 256 || !yield(it, err) {
					return
				}
			}
		}
	}}
}

// passing does not list the records that are written meanwhile.
func passing(b backend.Backend) backend.Backend {
	return broken{Backend: b, list: func(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
		return func(yield func(backend.Item, error) bool) {
			for it, err := range b.List(ctx, kind, group) {
				if now, _ := b.Get(ctx, it.Key); now.Revision == it.Revision && !yield(it, err) {
					return
				}
			}
		}
	}}
}

// clipping stores at most 1 KiB.
func clipping(b backend.Backend) backend.Backend {
	return broken{Backend: b, put: func(ctx context.Context, w backend.Write) (backend.Revision, error) {
		w.Value = w.Value[:min(len(w.Value), 1<<10)]
		return b.Put(ctx, w)
	}}
}

// twoSteps writes, and then appends.
func twoSteps(b backend.Backend) backend.Backend {
	return broken{
		Backend: b,
		put: func(ctx context.Context, w backend.Write) (backend.Revision, error) {
			e := w.Append
			w.Append = nil
			rev, err := b.Put(ctx, w)
			if err == nil && e != nil {
				time.Sleep(time.Millisecond) // in virtual time: the others change it meanwhile
				_, err = b.Append(ctx, *e)
			}
			return rev, err
		},
	}
}

// hasty appends before it knows whether it may write.
func hasty(b backend.Backend) backend.Backend {
	return broken{
		Backend: b,
		put: func(ctx context.Context, w backend.Write) (backend.Revision, error) {
			if w.Append != nil {
				if _, err := b.Append(ctx, *w.Append); err != nil {
					return 0, err
				}
				w.Append = nil
			}
			return b.Put(ctx, w)
		},
	}
}

// repeating delivers the last record again, once there is one.
func repeating(b backend.Backend) backend.Backend {
	f := NewFaulty(b)
	return broken{Backend: f, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		f.Repeat(1)
		return f.Append(ctx, e)
	}}
}
