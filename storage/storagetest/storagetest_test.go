package storagetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/storage"
	"github.com/maravilla-realtime/realtime/storage/storagetest"
)

func TestMemory(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Objects { return newMemory() })
}

func TestUnknownRule(t *testing.T) {
	if err := storagetest.Check(t.Context(), newMemory(), "no such rule"); err == nil {
		t.Error("a rule that does not exist was kept")
	}
}

// faults are stores that break one rule each.
var faults = []struct {
	rule, how string
	breaks    func(good *memory, b *broken)
}{
	{"Open returns what was put", "text only", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			return good.Put(ctx, path, typ, changed(body, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte{0}, nil) }))
		}
	}},
	{"Open returns what was put", "a megabyte at most", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			return good.Put(ctx, path, typ, changed(body, func(b []byte) []byte { return b[:min(len(b), 1<<20)] }))
		}
	}},
	{"a body is read to its end, however it comes", "nothing is taken for the end", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			return good.Put(ctx, path, typ, impatient{body})
		}
	}},
	{"what is not there is ErrNotFound", "Delete does not care", func(good *memory, b *broken) {
		b.delete = func(ctx context.Context, path string) error {
			if err := good.Delete(ctx, path); !errors.Is(err, storage.ErrNotFound) {
				return err
			}
			return nil
		}
	}},
	{"Put replaces, and says what it created", "a deletion is not noticed", func(good *memory, b *broken) {
		had := map[string]bool{}
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			info, created, err := good.Put(ctx, path, typ, body)
			good.mu.Lock()
			defer good.mu.Unlock()
			created = created && !had[path]
			had[path] = had[path] || err == nil
			return info, created, err
		}
	}},
	{"the version is another one when the content is", "of its size", func(good *memory, b *broken) {
		rename(good, b, func(o stored) string { return fmt.Sprint(o.info.Size) })
	}},
	{"paths are kept as they are, and apart", "unescaped", func(good *memory, b *broken) {
		unescape := func(path string) string {
			if got, err := url.PathUnescape(path); err == nil && storage.ValidPath(got) {
				return got
			}
			return path
		}
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			info, created, err := good.Put(ctx, unescape(path), typ, body)
			info.Path = path
			return info, created, err
		}
		b.open = func(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
			f, info, err := good.Open(ctx, unescape(path))
			info.Path = path
			return f, info, err
		}
	}},
	{"an object and a folder of one name do no harm", "what is in the way goes", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			info, created, err := good.Put(ctx, path, typ, body)
			for i := range path {
				if path[i] == '/' && err == nil {
					_ = good.Delete(ctx, path[:i])
				}
			}
			return info, created, err
		}
	}},
	{"nothing can be seen before the end of a body", "written in place", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			first := make([]byte, 100)
			n, err := io.ReadFull(body, first)
			begin := bytes.NewReader(first[:n])
			switch {
			case err == io.EOF || err == io.ErrUnexpectedEOF:
				return good.Put(ctx, path, typ, begin)
			case err != nil:
				return storage.Info{}, false, err
			}
			if _, _, err := good.Open(ctx, path); err == nil {
				return good.Put(ctx, path, typ, io.MultiReader(begin, body))
			}
			_, created, err := good.Put(ctx, path, typ, bytes.NewReader(first))
			if err != nil {
				return storage.Info{}, false, err
			}
			info, _, err := good.Put(ctx, path, typ, io.MultiReader(begin, body))
			if err != nil {
				_ = good.Delete(ctx, path)
			}
			return info, created, err
		}
	}},
	{"a body that fails leaves what was", "what came is kept", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			var broke error
			info, created, err := good.Put(ctx, path, typ, readerFunc(func(p []byte) (int, error) {
				n, err := body.Read(p)
				if err != nil && err != io.EOF {
					broke, err = err, io.EOF
				}
				return n, err
			}))
			return info, created, errors.Join(err, broke)
		}
	}},
	{"a body that fails leaves what was", "an error of its own", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			info, created, err := good.Put(ctx, path, typ, body)
			if err != nil && ctx.Err() == nil {
				err = fs.ErrInvalid
			}
			return info, created, err
		}
	}},
	{"who reads gets one object, or an error", "whatever is there now", func(good *memory, b *broken) {
		b.open = func(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
			f, info, err := good.Open(ctx, path)
			return live{f, good, path}, info, err
		}
	}},
	{"Open can seek", "not from the end", func(good *memory, b *broken) {
		b.open = func(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
			f, info, err := good.Open(ctx, path)
			return fromStart{f}, info, err
		}
	}},
	{"Delete removes one object", "and its neighbours", func(good *memory, b *broken) {
		b.delete = func(ctx context.Context, path string) error {
			_ = good.Delete(ctx, path+"-c")
			return good.Delete(ctx, path)
		}
	}},
	{"List is the prefix in the order of bytes", "of folders", func(good *memory, b *broken) {
		folders := func(info storage.Info) string { return strings.ReplaceAll(info.Path, "/", "\x00") }
		b.list = func(ctx context.Context, prefix, cursor string, limit int) ([]storage.Info, string, error) {
			list, next, err := good.List(ctx, prefix, cursor, limit)
			slices.SortFunc(list, func(a, b storage.Info) int { return strings.Compare(folders(a), folders(b)) })
			return list, next, err
		}
	}},
	{"List is the prefix in the order of bytes", "of whole folders", func(good *memory, b *broken) {
		b.list = func(ctx context.Context, prefix, cursor string, limit int) ([]storage.Info, string, error) {
			list, next, err := good.List(ctx, prefix, cursor, limit)
			return slices.DeleteFunc(list, func(info storage.Info) bool {
				return prefix != "" && prefix != info.Path && !strings.HasPrefix(info.Path, strings.TrimSuffix(prefix, "/")+"/")
			}), next, err
		}
	}},
	{"List continues after a cursor", "a last page that is empty", func(good *memory, b *broken) {
		b.list = func(ctx context.Context, prefix, cursor string, limit int) ([]storage.Info, string, error) {
			list, next, err := good.List(ctx, prefix, cursor, limit)
			if err == nil && len(list) == limit {
				next = list[limit-1].Path
			}
			return list, next, err
		}
	}},
	{"List continues after a cursor", "which has to be there", func(good *memory, b *broken) {
		b.list = func(ctx context.Context, prefix, cursor string, limit int) ([]storage.Info, string, error) {
			if cursor != "" {
				if _, _, err := good.Open(ctx, cursor); err != nil {
					return nil, "", err
				}
			}
			return good.List(ctx, prefix, cursor, limit)
		}
	}},
	{"List continues after a cursor", "for ever", func(good *memory, b *broken) {
		b.list = func(ctx context.Context, prefix, cursor string, limit int) ([]storage.Info, string, error) {
			if limit < 10 {
				cursor = ""
			}
			return good.List(ctx, prefix, cursor, limit)
		}
	}},
	{"calls do not disturb each other", "busy", func(good *memory, b *broken) {
		busy := make(chan struct{}, 1)
		b.delete = func(ctx context.Context, path string) error {
			select {
			case busy <- struct{}{}:
				time.Sleep(time.Microsecond) // in virtual time: the others come
				<-busy
				return good.Delete(ctx, path)
			default:
				return errors.New("database is locked")
			}
		}
	}},
	{"of those who write one path the last to end wins", "looks before it reads", func(good *memory, b *broken) {
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			_, _, had := good.Open(ctx, path)
			info, _, err := good.Put(ctx, path, typ, body)
			return info, had != nil, err
		}
	}},
	{"of those who write one path the last to end wins", "one body at a time", func(good *memory, b *broken) {
		busy := make(chan struct{}, 1)
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			busy <- struct{}{}
			defer func() { <-busy }()
			return good.Put(ctx, path, typ, body)
		}
	}},
	{"an ended context is honoured", "not by Delete", func(good *memory, b *broken) {
		b.delete = func(ctx context.Context, path string) error { return good.Delete(context.WithoutCancel(ctx), path) }
	}},
}

// TestBroken: each rule catches the stores that break it and no others, and every
// rule is broken by one.
func TestBroken(t *testing.T) {
	missing := storagetest.Rules()
	for _, f := range faults {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == f.rule })
		for _, name := range storagetest.Rules() {
			var err error
			synctest.Test(t, func(t *testing.T) {
				b := &broken{memory: newMemory()}
				f.breaks(b.memory, b)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = storagetest.Check(ctx, b, name)
			})
			if name == f.rule && err == nil {
				t.Errorf("%q let a broken store pass: %s", name, f.how)
			}
			if name != f.rule && err != nil {
				t.Errorf("the store that breaks %q only (%s): %v", f.rule, f.how, err)
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("no store breaks %q", missing)
	}
}

// TestWaiting: a store that lets nobody read while a body comes is found out.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := newMemory()
		b, busy := &broken{memory: good}, make(chan struct{}, 1)
		b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
			busy <- struct{}{}
			defer func() { <-busy }()
			return good.Put(ctx, path, typ, body)
		}
		b.open = func(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
			busy <- struct{}{}
			defer func() { <-busy }()
			return good.Open(ctx, path)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := storagetest.Check(ctx, b, "nothing can be seen before the end of a body"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// changed changes what a body yields.
func changed(body io.Reader, change func([]byte) []byte) io.Reader {
	b, err := io.ReadAll(body)
	if err != nil {
		return iotest.ErrReader(err)
	}
	return bytes.NewReader(change(b))
}

// impatient takes no bytes for the end.
type impatient struct{ io.Reader }

func (r impatient) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// live reads what is at its path at the moment.
type live struct {
	io.ReadSeekCloser
	store *memory
	path  string
}

func (l live) Read(p []byte) (int, error) {
	at, err := l.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	l.store.mu.Lock()
	content := l.store.objects[l.path].content
	l.store.mu.Unlock()
	if at >= int64(len(content)) {
		return 0, io.EOF
	}
	n := copy(p, content[at:])
	_, err = l.Seek(int64(n), io.SeekCurrent)
	return n, err
}

// fromStart takes the end for the beginning.
type fromStart struct{ io.ReadSeekCloser }

func (f fromStart) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		whence = io.SeekStart
	}
	return f.ReadSeekCloser.Seek(max(offset, 0), whence)
}

// rename has versions made of what is stored.
func rename(good *memory, b *broken, version func(stored) string) {
	name := func(info storage.Info) storage.Info {
		good.mu.Lock()
		defer good.mu.Unlock()
		info.Version = version(good.objects[info.Path])
		return info
	}
	b.put = func(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
		info, created, err := good.Put(ctx, path, typ, body)
		if err == nil {
			info = name(info)
		}
		return info, created, err
	}
	b.open = func(ctx context.Context, path string) (io.ReadSeekCloser, storage.Info, error) {
		f, info, err := good.Open(ctx, path)
		if err == nil {
			info = name(info)
		}
		return f, info, err
	}
}
