package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/storage"
)

// timed is a server's writer that notes its deadlines.
type timed struct {
	*httptest.ResponseRecorder
	read, write time.Time
	fails       int // deadlines that can be set, then they fail; 0: all can
}

func (w *timed) SetReadDeadline(at time.Time) error {
	if w.fails--; w.fails == 0 {
		return errors.New("no more deadlines")
	}
	w.read = at
	return nil
}

func (w *timed) SetWriteDeadline(at time.Time) error { w.write = at; return nil }

// during calls functions at each read of a body, and after it.
type during struct {
	storage.Objects
	read  func()
	again bool // the body is read on after its end
	opens []*closing
}

func (d *during) Put(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
	d.read()
	return d.Objects.Put(ctx, path, typ, readFunc(func(p []byte) (int, error) {
		n, err := body.Read(p[:min(len(p), 1000)])
		d.read()
		if d.again && err != nil {
			if m, again := body.Read(p); m != 0 || again != err {
				return 0, errors.New("the second error is another one")
			}
			d.read()
		}
		return n, err
	}))
}

func (d *during) Open(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
	content, info, err := d.Objects.Open(ctx, path)
	c := &closing{content, false}
	d.opens = append(d.opens, c)
	return c, info, err
}

type closing struct {
	io.ReadSeekCloser
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return c.ReadSeekCloser.Close()
}

// There is a deadline for the client while it is waited for, and at no other time. Once
// the request is answered, it has a while for what is left to send or take.
func TestDeadlinesOfARequest(t *testing.T) {
	for _, c := range []struct {
		name, method, target string
		size, length         int // of the body, and as the client says; -1: it does not
		fails                int
		broken, again        bool // the body, and it is read on
		status               int
		read                 time.Duration // the deadline when all is done; 0: none
	}{
		{"upload", "POST", "upload?path=a", 5000, 5000, 0, false, false, 201, 0},
		{"upload without length", "POST", "upload?path=a", 5000, -1, 0, false, false, 201, 0},
		{"upload that is read on", "POST", "upload?path=a", 5000, -1, 0, false, true, 201, 0},
		{"empty", "POST", "upload?path=a", 0, 0, 0, false, true, 201, 0},
		{"refused", "POST", "upload?path=..", 5000, 5000, 0, false, false, 400, 10 * time.Second},
		{"too large", "POST", "upload?path=a", 5000, 20_000, 0, false, false, 413, 10 * time.Second},
		{"broken", "POST", "upload?path=a", 5000, 9000, 0, true, true, 400, 10 * time.Second},
		{"deadlines that fail", "POST", "upload?path=a", 5000, 5000, 3, false, true, 500, 10 * time.Second},
		{"deadlines that fail later", "POST", "upload?path=a", 5000, 5000, 4, false, true, 500, 10 * time.Second},
		{"download", "GET", "download?path=there", 0, 0, 0, false, false, 200, 0},
	} {
		bubble(t, c.name, func(t *testing.T) {
			rt, err := realtime.New(open(), &realtime.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close(context.Background())
			w := &timed{ResponseRecorder: httptest.NewRecorder()}
			objects := &during{Objects: newDir(t), again: c.again}
			objects.read = func() {
				if !w.read.IsZero() && w.Code == 200 && !c.broken && c.fails == 0 {
					t.Errorf("there is a deadline while the store works: %v", w.read)
				}
			}
			store := storage.New(rt, objects, nil)
			if _, _, err := store.Put(t.Context(), "there", "", strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
			w.fails = c.fails
			handler := storage.Handler(rt, store, &storage.HandlerOptions{MaxSize: 10_000, Logger: slog.New(slog.DiscardHandler)})
			left, ended := c.size, false
			body := readFunc(func(p []byte) (int, error) {
				switch {
				case c.read != 0 && (c.status == 413 || c.name == "refused"):
					t.Error("a body is read that is refused")
				case w.read.IsZero() && !ended:
					t.Error("the client is waited for without a deadline")
				}
				n := min(left, len(p))
				if left -= n; n == 0 {
					ended = true
					if c.broken {
						return 0, io.ErrUnexpectedEOF
					}
					return 0, io.EOF
				}
				return n, nil
			})
			r := httptest.NewRequest(c.method, "http://host.test/api/storage/"+c.target, io.NopCloser(body))
			if r.ContentLength = int64(c.length); c.length == 0 {
				r.Body = http.NoBody
			}
			began := time.Now()
			handler.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if want := began.Add(c.read); c.read == 0 && !w.read.IsZero() || c.read != 0 && c.fails == 0 && !c.broken && !w.read.Equal(want) {
				t.Errorf("the client has until %v for the rest of its body, want %v", w.read, c.read)
			}
			if want := began.Add(20 * time.Second); !w.write.Equal(want) {
				t.Errorf("the client has until %v for the answer, want %v", w.write, want)
			}
			for _, content := range objects.opens {
				if !content.closed {
					t.Error("what is downloaded is left open")
				}
			}
		})
	}
}

// once is a body that must not be read after its end.
func once(t *testing.T, content string) io.Reader {
	from, ended := strings.NewReader(content), false
	return readFunc(func(p []byte) (int, error) {
		if ended {
			t.Error("the body is read after its end")
		}
		n, err := from.Read(p)
		ended = err == io.EOF
		return n, err
	})
}

// A Put reads its body once, whatever Objects does, and its context is over with it. What
// was not stored was not created.
func TestBodyOfPut(t *testing.T) {
	withMoody(t, "", func(t *testing.T, s *site, m *moody, _ *backendtest.Faulty) {
		var given context.Context
		m.Before = func(ctx context.Context, in string) error { given = ctx; return nil }
		if _, created, err := s.store.Put(t.Context(), "b", "", once(t, "x")); err != nil || !created {
			t.Errorf("created %v, %v", created, err)
		}
		if given.Err() == nil {
			t.Error("the context of Put goes on")
		}
		s.expect("stored", "created b")
		// It fails before the end of its body, though there is an object.
		if _, created, err := s.store.Put(t.Context(), "b", "", errReader{errMood}); !errors.Is(err, errMood) || created {
			t.Errorf("a body fails: %v, %v", created, err)
		}
		s.expect("a body fails", "")
		for _, with := range []error{storage.ErrBadPath, errMood} {
			m.Before = nil
			m.After = func(context.Context, string) error { return with }
			if _, created, err := s.store.Put(t.Context(), "c", "", strings.NewReader("x")); !errors.Is(err, with) || created {
				t.Errorf("%v: %v, %v", with, created, err)
			}
			s.expect(with.Error(), map[bool]string{true: "", false: "updated c"}[with == storage.ErrBadPath])
		}
		if _, created, err := s.store.Put(t.Context(), "../x", "", strings.NewReader("x")); created || err == nil {
			t.Errorf("%v, %v", created, err)
		}
	})
}

// Objects that takes too long before the end of a body does not store it.
func TestLateBeforeTheEnd(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		s := serve(t, open(), nil)
		objects := &busyObjects{Objects: newDir(t), between: 2 * time.Second}
		store := storage.New(s.rt, objects, &storage.Options{PutTimeout: time.Second})
		_, created, err := store.Put(t.Context(), "a", "", strings.NewReader("x"))
		if !errors.Is(err, storage.ErrNoAnswer) || created {
			t.Errorf("%v, %v", created, err)
		}
		s.nothing("late")
	})
}

// asked notes the limits it is asked for.
type asked struct {
	storage.Objects
	limits []int
}

func (a *asked) List(_ context.Context, _, _ string, limit int) ([]storage.Info, string, error) {
	a.limits = append(a.limits, limit)
	return nil, "", nil
}

func TestLimitsOfList(t *testing.T) {
	a := &asked{}
	store := storage.New(nil, a, nil)
	for limit, want := range map[int]int{-1: 1000, 0: 1000, 1: 1, 999: 999, 1000: 1000, 1001: 1000} {
		a.limits = nil
		if _, _, err := store.List(t.Context(), "", "", limit); err != nil || len(a.limits) != 1 || a.limits[0] != want {
			t.Errorf("%d: %v, %v", limit, a.limits, err)
		}
	}
}

// slowSeek is content that seeks when its context ends, and cannot be closed.
type slowSeek struct {
	io.ReadSeekCloser
	ctx context.Context
	err error
}

func (s *slowSeek) Seek(int64, int) (int64, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (s *slowSeek) Close() error { return errors.Join(s.err, s.ReadSeekCloser.Close()) }

type seeking struct {
	storage.Objects
	ctx context.Context
}

func (s *seeking) Open(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
	s.ctx = ctx
	content, info, err := s.Objects.Open(ctx, path)
	return &slowSeek{content, ctx, errMood}, info, err
}

// The context of Open ends when the object is closed, or could not be opened; seeking has
// its time, and what closing says is told.
func TestContextOfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		objects := &seeking{Objects: newDir(t)}
		store := storage.New(s.rt, objects, nil)
		if err := putA(store, t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := store.Open(t.Context(), "b"); !errors.Is(err, storage.ErrNotFound) || objects.ctx.Err() == nil {
			t.Errorf("open: %v, its context %v", err, objects.ctx.Err())
		}
		content, _, err := store.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if err := content.Close(); !errors.Is(err, errMood) || objects.ctx.Err() == nil {
			t.Errorf("close: %v, its context %v", err, objects.ctx.Err())
		}
		if content, _, err = store.Open(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		took := elapsed()
		if _, err := content.Seek(0, io.SeekStart); !errors.Is(err, storage.ErrNoAnswer) || took() != 30*time.Second {
			t.Errorf("after %v: %v", took(), err)
		}
	})
}

// What a client does wrong is told to it, and not logged; what it cannot help is logged.
func TestWhatIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		restore := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		defer slog.SetDefault(restore)
		s := newUnreliable(t)
		handler := storage.Handler(s.rt, s.store, nil) // which logs where all others do
		ask := func(ctx context.Context, method, target string) (int, string) {
			w := &timed{ResponseRecorder: httptest.NewRecorder()}
			handler.ServeHTTP(w, httptest.NewRequest(method, "/"+target, strings.NewReader("x")).WithContext(ctx))
			return w.Code, w.Body.String()
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for _, c := range []struct {
			method, target string
			before         func()
			ctx            context.Context
			status         int
			body, logged   string
		}{
			{"GET", "download?path=none", func() {}, t.Context(), 404, "not_found", ""},
			{"GET", "download?path=../x", func() {}, t.Context(), 400, `../x\" is no path of an object`, ""},
			{"POST", "upload?path=a", func() { s.faulty.FailAppend(1, errors.New("boom")) }, t.Context(), 503, "not announced", "not announced"},
			{"DELETE", "delete?path=a", func() { s.objects.deleted = errMood }, t.Context(), 500, "internal", "a request failed"},
			{"GET", "download?path=a", func() {}, ended, 503, "unavailable", ""},
		} {
			log.Reset()
			c.before()
			status, body := ask(c.ctx, c.method, c.target)
			if status != c.status || !strings.Contains(body, c.body) {
				t.Errorf("%s: %d %s", c.target, status, body)
			}
			if logged := log.String(); (logged == "") != (c.logged == "") || !strings.Contains(logged, c.logged) {
				t.Errorf("%s: logged %q", c.target, logged)
			}
		}
	})
}

// An object that nobody has heard of is deleted, not created, when that is what happens to
// it; and a deletion that nobody has heard of does not make an update a deletion.
func TestUnheardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUnreliable(t)
		s.faulty.FailAppend(1, errors.New("boom"))
		s.refused("created, down", s.upload("x"), 503, "unavailable")
		if r := s.remove(); r.StatusCode != 204 {
			t.Errorf("deleted: %s", r.Status)
		}
		if got := s.said(); !strings.HasSuffix(got, "deleted a") {
			t.Errorf("announced %q", got)
		}
		s.upload("x")
		s.said()
		s.objects.deleted = errMood
		s.faulty.FailAppend(1, errors.New("boom"))
		s.refused("perhaps deleted, down", s.remove(), 503, "unavailable")
		s.objects.deleted = nil
		s.upload("x")
		s.upload("x")
		if got := s.said(); !strings.HasSuffix(got, "updated a") {
			t.Errorf("announced %q", got)
		}
	})
}
