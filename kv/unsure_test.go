package kv_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/kv"
)

// moody is an engine in whose calls something happens.
type moody struct {
	kv.Engine
	testkit.Hooks
}

func (m *moody) Get(ctx context.Context, namespace, key string) (e kv.Entry, err error) {
	if err = m.Around(ctx, "Get", func() error { e, err = m.Engine.Get(ctx, namespace, key); return err }); err != nil {
		return kv.Entry{}, err
	}
	return e, nil
}

func (m *moody) Put(ctx context.Context, e kv.Entry) error {
	return m.Around(ctx, "Put", func() error { return m.Engine.Put(ctx, e) })
}

func (m *moody) Delete(ctx context.Context, namespace, key string) error {
	return m.Around(ctx, "Delete", func() error { return m.Engine.Delete(ctx, namespace, key) })
}

func (m *moody) List(ctx context.Context, namespace, prefix, after string, limit int) (list []kv.Entry, err error) {
	err = m.Around(ctx, "List", func() error { list, err = m.Engine.List(ctx, namespace, prefix, after, limit); return err })
	return list, err
}

// withMoody runs f in a bubble, with a Store that holds a=1, of which all was told.
func withMoody(t *testing.T, name string, f func(t *testing.T, s *kv.Store, r *recorder, m *moody)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := &moody{Engine: kv.NewMemory()}
			s, r := open(t, m)
			put(t, s, "a", "1")
			r.take()
			f(t, s, r, m)
		})
	})
}

// TestCallerGoesWhileTheEngineWrites: who has gone has written all the same.
func TestCallerGoesWhileTheEngineWrites(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
		for method, call := range map[string]func(ctx context.Context) error{
			"Put":    func(ctx context.Context) error { _, err := s.Put(ctx, "demo", "b", nil); return err },
			"Delete": func(ctx context.Context) error { return s.Delete(ctx, "demo", "a") },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			m.After = func(given context.Context, in string) error {
				if in == method {
					cancel()
					synctest.Wait()
				}
				return given.Err() // an engine that honours its context says so
			}
			if err := call(ctx); err != nil {
				t.Errorf("%s: %v", method, err)
			}
			r.expect(t, map[string]string{"Put": "put:b", "Delete": "delete:a"}[method])
		}
	})
}

// TestCallerGoesBefore: the error of a context means that nothing was written.
func TestCallerGoesBefore(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
		for method, call := range map[string]func(ctx context.Context) error{
			"Put":    func(ctx context.Context) error { _, err := s.Put(ctx, "demo", "a", []byte("2")); return err },
			"Delete": func(ctx context.Context) error { return s.Delete(ctx, "demo", "a") },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			m.After = func(_ context.Context, in string) error { // without a look at its context
				if in == "Get" {
					<-ctx.Done()
				}
				return nil
			}
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", method, err)
			}
			cancel()
			m.After = nil
			holds(t, s, "a", "1")
			r.expect(t, "")
		}
	})
}

var errMood = errors.New("not in the mood")

// fails returns a hook that fails in those methods.
func fails(methods ...string) func(context.Context, string) error {
	return func(_ context.Context, in string) error {
		for _, method := range methods {
			if in == method {
				return errMood
			}
		}
		return nil
	}
}

// TestEngineFailsAfterWriting: a write that has happened is announced, and one that has
// not is not.
func TestEngineFailsAfterWriting(t *testing.T) {
	put := func(s *kv.Store) error { _, err := s.Put(context.Background(), "demo", "a", []byte("2")); return err }
	del := func(s *kv.Store) error { return s.Delete(context.Background(), "demo", "a") }
	for _, c := range []struct {
		name          string
		call          func(*kv.Store) error
		before, after func(context.Context, string) error
		want          string
	}{
		{"put, done", put, nil, fails("Put"), "put:a"},
		{"put, done, a panic", put, nil, testkit.Panics("Put", errMood), "put:a"},
		{"put, not done", put, fails("Put"), nil, ""},
		{"put, not done, a panic", put, testkit.Panics("Put", errMood), nil, ""},
		{"delete, done", del, nil, fails("Delete"), "delete:a"},
		{"delete, done, a panic", del, nil, testkit.Panics("Delete", errMood), "delete:a"},
		{"delete, not done", del, fails("Delete"), nil, ""},
		{"delete, not done, a panic", del, testkit.Panics("Delete", errMood), nil, ""},
	} {
		withMoody(t, c.name, func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
			m.Before, m.After = c.before, c.after
			verb, _, _ := strings.Cut(c.name, ",")
			if err := c.call(s); !errors.Is(err, errMood) || errors.Is(err, kv.ErrUnannounced) || !strings.HasPrefix(err.Error(), "kv: "+verb+": ") {
				t.Error(err)
			}
			r.expect(t, c.want)
			r.failWith(errDown)
			m.Before, m.After = nil, nil
			_, _ = s.Put(t.Context(), "demo", "a", []byte("3"))
			m.Before, m.After = c.before, c.after
			if err := c.call(s); !errors.Is(err, errMood) || errors.Is(err, kv.ErrUnannounced) != (c.want != "") {
				t.Errorf("without a log: %v", err)
			}
		})
	}
}

// TestDeadlineOfTheEngine: an engine has contexts of its own. Their end is not that of the
// caller's, which would mean that nothing was written.
func TestDeadlineOfTheEngine(t *testing.T) {
	for method, call := range map[string]func(*kv.Store) error{
		"Put":    func(s *kv.Store) error { _, err := s.Put(context.Background(), "demo", "a", []byte("2")); return err },
		"Delete": func(s *kv.Store) error { return s.Delete(context.Background(), "demo", "a") },
	} {
		withMoody(t, method, func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
			m.After = func(_ context.Context, in string) error {
				if in == method {
					return context.DeadlineExceeded
				}
				return nil
			}
			if err := call(s); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			r.expect(t, strings.ToLower(method)+":a")
		})
	}
}

// TestEngineIsGoneAfterWriting: if nobody can tell whether a write has happened,
// followers are made to read again.
func TestEngineIsGoneAfterWriting(t *testing.T) {
	withMoody(t, "put", func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
		gone := false
		m.After = func(_ context.Context, in string) error {
			if gone = gone || in == "Put"; gone {
				return errMood
			}
			return nil
		}
		if _, err := s.Put(t.Context(), "demo", "b", nil); !errors.Is(err, errMood) {
			t.Error(err)
		}
		r.expect(t, "put:b")
	})
	withMoody(t, "delete", func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
		gone := false
		m.After = func(_ context.Context, in string) error {
			if gone = gone || in == "Delete"; gone {
				return errMood
			}
			return nil
		}
		if err := s.Delete(t.Context(), "demo", "a"); !errors.Is(err, errMood) {
			t.Error(err)
		}
		m.After = nil
		if err := s.Delete(t.Context(), "demo", "a"); err != nil {
			t.Error(err)
		}
		events := r.take()
		ascending(t, events)
		if len(events) != 2 || events[0].Type != "kv.put" || events[1].Type != "kv.delete" {
			t.Errorf("the events are %+v", events)
		}
	})
}

// TestSilentEngine: no call waits without end.
func TestSilentEngine(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *kv.Store, r *recorder, m *moody) {
		var silent string
		m.Before = func(ctx context.Context, in string) error {
			if in == silent {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		ctx := context.Background()
		for method, call := range map[string]func() error{
			"Get":    func() error { _, err := s.Get(ctx, "demo", "a"); return err },
			"List":   func() error { _, err := s.List(ctx, "demo", kv.ListOptions{}); return err },
			"Put":    func() error { _, err := s.Put(ctx, "demo", "a", nil); return err },
			"Delete": func() error { return s.Delete(ctx, "demo", "a") },
		} {
			silent = method
			began := time.Now()
			err := call()
			if !errors.Is(err, kv.ErrNoAnswer) || errors.Is(err, context.Canceled) || time.Since(began) != 10*time.Second {
				t.Errorf("%s: after %v: %v", method, time.Since(began), err)
			}
			silent = ""
			holds(t, s, "a", "1")
		}
		r.expect(t, "")
	})
}
