package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/storage"
)

// moody are Objects in whose calls something happens.
type moody struct {
	storage.Objects
	testkit.Hooks
}

// Put gathers the body first, as stores do that send it elsewhere.
func (m *moody) Put(ctx context.Context, path, typ string, body io.Reader) (info storage.Info, created bool, err error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return info, false, err
	}
	err = m.Around(ctx, "Put", func() error {
		info, created, err = m.Objects.Put(ctx, path, typ, bytes.NewReader(b))
		return err
	})
	return info, created, err
}

func (m *moody) Delete(ctx context.Context, path string) error {
	return m.Around(ctx, "Delete", func() error { return m.Objects.Delete(ctx, path) })
}

func (m *moody) Open(ctx context.Context, path string) (content io.ReadSeekCloser, info storage.Info, err error) {
	err = m.Around(ctx, "Open", func() error { content, info, err = m.Objects.Open(ctx, path); return err })
	return content, info, err
}

func (m *moody) List(ctx context.Context, prefix, cursor string, limit int) (list []storage.Info, next string, err error) {
	err = m.Around(ctx, "List", func() error { list, next, err = m.Objects.List(ctx, prefix, cursor, limit); return err })
	return list, next, err
}

// withMoody runs f in a bubble, with a Store that holds the object a, of which all
// was told, and whose log fails on command.
func withMoody(t *testing.T, name string, f func(t *testing.T, s *site, m *moody, log *backendtest.Faulty)) {
	t.Helper()
	bubble(t, name, func(t *testing.T) {
		log := backendtest.NewFaulty(memory.New(memory.Limits{}))
		rt, err := realtime.New(open(), &realtime.Options{Backend: log, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		m := &moody{Objects: newDir(t)}
		s := &site{t: t, rt: rt, start: rt.Cursor(), store: storage.New(rt, m, nil)}
		if err := putA(s.store, t.Context()); err != nil {
			t.Fatal(err)
		}
		s.said()
		f(t, s, m, log)
	})
}

func putA(store *storage.Store, ctx context.Context) error {
	_, _, err := store.Put(ctx, "a", "", strings.NewReader("x"))
	return err
}

func putB(store *storage.Store, ctx context.Context) error {
	_, _, err := store.Put(ctx, "b", "", strings.NewReader("x"))
	return err
}

func deleteA(store *storage.Store, ctx context.Context) error { return store.Delete(ctx, "a") }

func (s *site) expect(what, want string) {
	s.t.Helper()
	if got := s.said(); got != want {
		s.t.Errorf("%s: announced %q, want %q", what, got, want)
	}
}

// TestCallerGoesWhileObjectsWrites: who has gone has written all the same.
func TestCallerGoesWhileObjectsWrites(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *site, m *moody, _ *backendtest.Faulty) {
		for _, c := range []struct {
			method, want string
			call         func(*storage.Store, context.Context) error
		}{{"Put", "created b", putB}, {"Put", "updated b", putB}, {"Delete", "deleted a", deleteA}} {
			for _, stored := range []bool{false, true} {
				ctx, cancel := context.WithCancel(t.Context())
				hook := func(given context.Context, in string) error {
					if in == c.method {
						cancel()
						synctest.Wait()
					}
					return given.Err() // Objects that honour their context say so
				}
				if m.Before, m.After = hook, nil; stored {
					m.Before, m.After = nil, hook
				}
				if err := c.call(s.store, ctx); err != nil {
					t.Errorf("%s: %v", c.want, err)
				}
				if stored {
					break
				}
				m.Before = nil
				s.expect("gone before it was stored", c.want)
				if c.method == "Delete" { // so that there is one to delete
					_ = putA(s.store, t.Context())
					s.said()
				} else if c.want == "created b" {
					_ = s.store.Delete(t.Context(), "b")
					s.said()
				}
			}
			s.expect("gone when it was stored", c.want)
		}
	})
}

// TestCallerGoesBefore: the error of a context means that nothing was written.
func TestCallerGoesBefore(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *site, m *moody, _ *backendtest.Faulty) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := s.store.Put(ctx, "b", "", io.MultiReader(strings.NewReader("x"), ending(func() { <-ctx.Done() })))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("put: %v", err)
		}
		if err := deleteA(s.store, ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("delete: %v", err)
		}
		if got := read(t, s.store, "a"); got != "x" {
			t.Errorf("stored %q", got)
		}
		s.expect("gone", "")
	})
}

var errMood = errors.New("not in the mood")

func fails(method string) func(context.Context, string) error {
	return func(_ context.Context, in string) error {
		if in == method {
			return errMood
		}
		return nil
	}
}

// TestObjectsFailAfterTheEnd: a write that has happened is announced, and one that has
// not is not.
func TestObjectsFailAfterTheEnd(t *testing.T) {
	for _, c := range []struct {
		name          string
		call          func(*storage.Store, context.Context) error
		before, after func(context.Context, string) error
		want          string
	}{
		{"put, done", putB, nil, fails("Put"), "updated b"},
		{"put, done, a panic", putB, nil, testkit.Panics("Put", errMood), "updated b"},
		{"put, not done", putB, fails("Put"), nil, ""},
		{"put, not done, a panic", putB, testkit.Panics("Put", errMood), nil, ""},
		{"delete, done", deleteA, nil, fails("Delete"), "deleted a"},
		{"delete, done, a panic", deleteA, nil, testkit.Panics("Delete", errMood), "deleted a"},
		{"delete, not done", deleteA, fails("Delete"), nil, ""},
		{"delete, not done, a panic", deleteA, testkit.Panics("Delete", errMood), nil, ""},
	} {
		withMoody(t, c.name, func(t *testing.T, s *site, m *moody, log *backendtest.Faulty) {
			m.Before, m.After = c.before, c.after
			if err := c.call(s.store, t.Context()); !errors.Is(err, errMood) || errors.Is(err, storage.ErrUnannounced) {
				t.Error(err)
			}
			s.expect("failed", c.want)
			m.Before, m.After = nil, nil
			if err := c.call(s.store, t.Context()); err != nil {
				t.Errorf("repeated: %v", err)
			}
			m.After = c.after
			_ = putA(s.store, t.Context())
			log.FailAppend(1, errors.New("the log is down"))
			if err := c.call(s.store, t.Context()); c.after != nil && (!errors.Is(err, errMood) || !errors.Is(err, storage.ErrUnannounced)) {
				t.Errorf("without a log: %v", err)
			}
		})
	}
}

// TestObjectsAreGoneAfterTheEnd: if nobody can tell whether a write has happened,
// followers are made to read again.
func TestObjectsAreGoneAfterTheEnd(t *testing.T) {
	for method, call := range map[string]func(*storage.Store, context.Context) error{"Put": putA, "Delete": deleteA} {
		withMoody(t, method, func(t *testing.T, s *site, m *moody, _ *backendtest.Faulty) {
			gone := false
			m.After = func(_ context.Context, in string) error {
				if gone = gone || in == method; gone {
					return errMood
				}
				return nil
			}
			if err := call(s.store, t.Context()); !errors.Is(err, errMood) {
				t.Error(err)
			}
			s.expect("gone", "updated a")
			m.After = nil
			if err := call(s.store, t.Context()); err != nil {
				t.Errorf("repeated: %v", err)
			}
			s.expect("repeated", map[string]string{"Put": "updated a", "Delete": "deleted a"}[method])
		})
	}
}

// TestDeadlineOfObjects: Objects have contexts of their own. Their end is not that of the
// caller's, which would mean that nothing was written.
func TestDeadlineOfObjects(t *testing.T) {
	for method, c := range map[string]struct {
		call func(*storage.Store, context.Context) error
		want string
	}{"Put": {putA, "updated a"}, "Delete": {deleteA, "deleted a"}} {
		withMoody(t, method, func(t *testing.T, s *site, m *moody, _ *backendtest.Faulty) {
			m.After = func(_ context.Context, in string) error {
				if in == method {
					return context.DeadlineExceeded
				}
				return nil
			}
			if err := c.call(s.store, t.Context()); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			s.expect("stored", c.want)
		})
	}
}

// TestSilentObjects: no call waits without end, and the time of Put does not run
// while the body comes.
func TestSilentObjects(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *site, m *moody, _ *backendtest.Faulty) {
		var silent string
		m.Before = func(ctx context.Context, in string) error {
			if in == silent {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		for method, call := range map[string]func(ctx context.Context) error{
			"Put": func(ctx context.Context) error {
				body := io.MultiReader(strings.NewReader("x"), ending(func() { time.Sleep(time.Hour) }))
				_, _, err := s.store.Put(ctx, "b", "", body)
				return err
			},
			"Open":   func(ctx context.Context) error { _, _, err := s.store.Open(ctx, "a"); return err },
			"List":   func(ctx context.Context) error { _, _, err := s.store.List(ctx, "", "", 0); return err },
			"Delete": func(ctx context.Context) error { return s.store.Delete(ctx, "a") },
		} {
			silent = method
			want := 30 * time.Second
			if method == "Put" {
				want = time.Hour + 5*time.Minute
			}
			took := elapsed()
			err := call(context.Background())
			if !errors.Is(err, storage.ErrNoAnswer) || errors.Is(err, context.Canceled) || took() != want {
				t.Errorf("%s: after %v: %v", method, took(), err)
			}
			silent = ""
		}
		s.expect("silent", "")
	})
}

// TestTimeouts: how long Objects may take is the host's to say, and to leave open.
func TestTimeouts(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *site, m *moody, _ *backendtest.Faulty) {
		m.Before = func(ctx context.Context, _ string) error {
			select {
			case <-ctx.Done():
			case <-time.After(time.Hour):
			}
			return ctx.Err()
		}
		for name, c := range map[string]struct {
			opts storage.Options
			call func(*storage.Store, context.Context) error
			want time.Duration
			err  error
		}{
			"call":              {storage.Options{CallTimeout: time.Minute}, deleteA, time.Minute, storage.ErrNoAnswer},
			"call, without end": {storage.Options{CallTimeout: -1}, deleteA, time.Hour, nil},
			"Put":               {storage.Options{PutTimeout: time.Minute}, putB, time.Minute, storage.ErrNoAnswer},
			"Put, without end":  {storage.Options{PutTimeout: -1}, putB, time.Hour, nil},
		} {
			took := elapsed()
			err := c.call(storage.New(s.rt, m, &c.opts), t.Context())
			// After an error the Store looks at what is there, which has its own time.
			if !errors.Is(err, c.err) || c.err == nil && err != nil || took() < c.want || c.err == nil && took() != c.want {
				t.Errorf("%s: after %v: %v", name, took(), err)
			}
		}
	})
}

// remote is content that is read with the context of Open, or not at all.
type remote struct {
	storage.Objects
	silent bool
}

func (r *remote) Open(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
	content, info, err := r.Objects.Open(ctx, path)
	return &fetched{content, ctx, &r.silent}, info, err
}

type fetched struct {
	io.ReadSeekCloser
	ctx    context.Context
	silent *bool
}

func (f *fetched) Read(p []byte) (int, error) {
	if *f.silent {
		<-f.ctx.Done()
	}
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.ReadSeekCloser.Read(p)
}

// TestReadingWithTheContextOfOpen: it lasts as long as the object is open, and ends
// with the caller's, or with a read that takes too long.
func TestReadingWithTheContextOfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := &remote{Objects: newDir(t)}
		s := serve(t, open(), nil)
		store := storage.New(s.rt, objects, nil)
		if err := putA(store, t.Context()); err != nil {
			t.Fatal(err)
		}
		content, _, err := store.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if b, err := io.ReadAll(content); err != nil || string(b) != "x" {
			t.Errorf("read %q, %v", b, err)
		}
		objects.silent = true
		took := elapsed()
		if _, err := content.Read(make([]byte, 1)); !errors.Is(err, storage.ErrNoAnswer) || took() != 30*time.Second {
			t.Errorf("after %v: %v", took(), err)
		}
		content.Close()

		ctx, cancel := context.WithCancel(t.Context())
		content, _, err = store.Open(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		cancel()
		if _, err := content.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("who has gone reads on: %v", err)
		}
	})
}
