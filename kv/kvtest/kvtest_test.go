package kvtest_test

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/kv"
	"github.com/maravilla-realtime/realtime/kv/kvtest"
)

func TestMemory(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.Engine { return kv.NewMemory() })
}

func TestUnknownRule(t *testing.T) {
	if err := kvtest.Check(t.Context(), kv.NewMemory(), "no such rule"); err == nil {
		t.Error("a rule that does not exist was kept")
	}
}

// A broken engine is a good one with one method replaced.
type broken struct {
	kv.Engine
	get      func(ctx context.Context, namespace, key string) (kv.Entry, error)
	put      func(ctx context.Context, e kv.Entry) error
	delete   func(ctx context.Context, namespace, key string) error
	list     func(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error)
	expiring func(ctx context.Context, limit int) ([]kv.Entry, error)
}

func (b broken) Get(ctx context.Context, namespace, key string) (kv.Entry, error) {
	if b.get != nil {
		return b.get(ctx, namespace, key)
	}
	return b.Engine.Get(ctx, namespace, key)
}

func (b broken) Put(ctx context.Context, e kv.Entry) error {
	if b.put != nil {
		return b.put(ctx, e)
	}
	return b.Engine.Put(ctx, e)
}

func (b broken) Delete(ctx context.Context, namespace, key string) error {
	if b.delete != nil {
		return b.delete(ctx, namespace, key)
	}
	return b.Engine.Delete(ctx, namespace, key)
}

func (b broken) List(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error) {
	if b.list != nil {
		return b.list(ctx, namespace, prefix, after, limit)
	}
	return b.Engine.List(ctx, namespace, prefix, after, limit)
}

func (b broken) Expiring(ctx context.Context, limit int) ([]kv.Entry, error) {
	if b.expiring != nil {
		return b.expiring(ctx, limit)
	}
	return b.Engine.Expiring(ctx, limit)
}

// brokenEngines are engines of which each breaks a rule.
var brokenEngines = map[string]func(good kv.Engine, b *broken){
	"Get returns what was put": func(good kv.Engine, b *broken) {
		b.put = func(ctx context.Context, e kv.Entry) error {
			e.Value = bytes.ReplaceAll(e.Value, []byte{0}, nil)
			return good.Put(ctx, e)
		}
	},
	"what is not there is ErrNotFound": func(good kv.Engine, b *broken) {
		b.get = func(ctx context.Context, namespace, key string) (kv.Entry, error) {
			e, err := good.Get(ctx, namespace, key)
			if namespace == "other" {
				err = nil
			}
			return e, err
		}
	},
	"Put replaces everything": func(good kv.Engine, b *broken) {
		b.put = func(ctx context.Context, e kv.Entry) error {
			if old, err := good.Get(ctx, e.Namespace, e.Key); err == nil && len(e.Value) == 0 {
				e.Value = old.Value
			}
			return good.Put(ctx, e)
		}
	},
	"Delete removes, if there is anything": func(good kv.Engine, b *broken) {
		b.delete = func(ctx context.Context, namespace, key string) error {
			if _, err := good.Get(ctx, namespace, key); err != nil {
				return err
			}
			return good.Delete(ctx, namespace, key)
		}
	},
	"names are any text and are kept apart": func(good kv.Engine, b *broken) {
		b.put = func(ctx context.Context, e kv.Entry) error {
			if err := good.Put(ctx, e); err != nil || e.Key == strings.ToLower(e.Key) {
				return err
			}
			e.Key = strings.ToLower(e.Key)
			if _, err := good.Get(ctx, e.Namespace, e.Key); err != nil {
				return nil
			}
			return good.Put(ctx, e)
		}
	},
	"slices are not shared": func(good kv.Engine, b *broken) {
		var values sync.Map
		b.put = func(ctx context.Context, e kv.Entry) error {
			values.Store([2]string{e.Namespace, e.Key}, e.Value)
			return good.Put(ctx, e)
		}
		b.get = func(ctx context.Context, namespace, key string) (kv.Entry, error) {
			e, err := good.Get(ctx, namespace, key)
			if value, ok := values.Load([2]string{namespace, key}); ok && err == nil {
				e.Value = value.([]byte)
			}
			return e, err
		}
	},
	"List is the prefix in the order of bytes": func(good kv.Engine, b *broken) {
		b.list = func(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error) {
			list, err := good.List(ctx, namespace, prefix, after, limit)
			slices.SortFunc(list, func(a, b kv.Entry) int { return strings.Compare(strings.ToLower(a.Key), strings.ToLower(b.Key)) })
			return list, err
		}
	},
	"List continues after a key": func(good kv.Engine, b *broken) {
		b.list = func(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error) {
			list, err := good.List(ctx, namespace, prefix, after, limit)
			if e, err := good.Get(ctx, namespace, after); err == nil {
				list = append([]kv.Entry{e}, list...)
			}
			return list, err
		}
	},
	"Expiring is what expires, the soonest first": func(good kv.Engine, b *broken) {
		b.expiring = func(ctx context.Context, limit int) ([]kv.Entry, error) {
			list, err := good.Expiring(ctx, 1000)
			slices.SortFunc(list, func(a, b kv.Entry) int {
				return cmp.Or(strings.Compare(a.Namespace, b.Namespace), a.Expires.Compare(b.Expires))
			})
			return list[:min(limit, len(list))], err
		}
	},
	"what was replaced or deleted does not expire": func(good kv.Engine, b *broken) {
		b.put = func(ctx context.Context, e kv.Entry) error {
			if old, err := good.Get(ctx, e.Namespace, e.Key); err == nil && e.Expires.IsZero() && string(e.Value) == "now" {
				e.Expires = old.Expires
			}
			return good.Put(ctx, e)
		}
	},
	"what has expired is still there": func(good kv.Engine, b *broken) {
		b.list = func(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error) {
			list, err := good.List(ctx, namespace, prefix, after, limit)
			return slices.DeleteFunc(list, func(e kv.Entry) bool { return !e.Expires.IsZero() && e.Expires.Before(time.Now()) }), err
		}
	},
	"calls do not disturb each other": func(good kv.Engine, b *broken) {
		busy := make(chan struct{}, 1)
		b.delete = func(ctx context.Context, namespace, key string) error {
			select {
			case busy <- struct{}{}:
				time.Sleep(time.Microsecond) // in virtual time: the others come
				<-busy
				return good.Delete(ctx, namespace, key)
			default:
				return context.DeadlineExceeded // "database is locked"
			}
		}
	},
	"an ended context is honoured": func(good kv.Engine, b *broken) {
		b.delete = func(ctx context.Context, namespace, key string) error {
			return good.Delete(context.WithoutCancel(ctx), namespace, key)
		}
	},
}

// TestBroken: each rule catches an engine that breaks it and no other.
func TestBroken(t *testing.T) {
	for rule, breaks := range brokenEngines {
		for _, name := range kvtest.Rules() {
			good := kv.NewMemory()
			b := broken{Engine: good}
			breaks(good, &b)
			var err error
			synctest.Test(t, func(t *testing.T) { err = kvtest.Check(t.Context(), b, name) })
			if name == rule && err == nil {
				t.Errorf("%q let a broken engine pass", name)
			}
			if name != rule && err != nil {
				t.Errorf("the engine that breaks %q only: %v", rule, err)
			}
		}
	}
}
