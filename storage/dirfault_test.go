package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/storage"
)

// flawed is a directory of which one call fails.
type flawed struct {
	storage.Tree
	left   int    // calls before that one; negative: none fails
	failed string // what has failed
	closed bool
	opened []*os.File
}

var errFlaw = errors.New("the disk is broken")

func (f *flawed) fails(what string) error {
	if f.left--; f.left == -1 {
		f.failed = what
		return fmt.Errorf("%s: %w", what, errFlaw)
	}
	return nil
}

// call calls f, unless that is what fails.
func (f *flawed) call(what string, call func() error) error {
	if err := f.fails(what); err != nil {
		return err
	}
	return call()
}

func (f *flawed) Mkdir(name string, perm os.FileMode) error {
	return f.call("mkdir", func() error { return f.Tree.Mkdir(name, perm) })
}

func (f *flawed) MkdirAll(name string, perm os.FileMode) error {
	return f.call("mkdir all", func() error { return f.Tree.MkdirAll(name, perm) })
}

func (f *flawed) Chtimes(name string, a, m time.Time) error {
	return f.call("chtimes", func() error { return f.Tree.Chtimes(name, a, m) })
}

func (f *flawed) Rename(from, to string) error {
	return f.call("rename", func() error { return f.Tree.Rename(from, to) })
}

func (f *flawed) Remove(name string) error {
	return f.call("remove", func() error { return f.Tree.Remove(name) })
}

func (f *flawed) RemoveAll(name string) error {
	return f.call("remove all", func() error { return f.Tree.RemoveAll(name) })
}

func (f *flawed) Lstat(name string) (fi os.FileInfo, err error) {
	err = f.call("lstat", func() error { fi, err = f.Tree.Lstat(name); return err })
	return fi, err
}

// Open also fails in what the file says of itself.
func (f *flawed) Open(name string) (file *os.File, err error) {
	err = f.call("open", func() error { file, err = f.Tree.Open(name); return err })
	if err != nil {
		return nil, err
	}
	f.opened = append(f.opened, file)
	if f.fails("read") != nil {
		file.Close()
	}
	return file, nil
}

// OpenFile also fails in writing to the file, and in the sync after that, which a pipe
// does not have.
func (f *flawed) OpenFile(name string, flag int, perm os.FileMode) (file *os.File, err error) {
	err = f.call("create", func() error { file, err = f.Tree.OpenFile(name, flag, perm); return err })
	if err != nil {
		return nil, err
	}
	if f.fails("write") != nil {
		file.Close()
	} else if f.fails("sync") != nil {
		file.Close()
		var end *os.File
		if end, file, err = os.Pipe(); err != nil {
			return nil, err
		}
		f.opened = append(f.opened, end)
	}
	f.opened = append(f.opened, file)
	return file, nil
}

func (f *flawed) Close() error {
	f.closed = true
	return f.Tree.Close()
}

// openTree opens a directory with the objects old and a/b/old.
func openTree(t *testing.T, wrap func(storage.Tree) storage.Tree) (dir *storage.Dir, name string) {
	t.Helper()
	name = t.TempDir()
	write(t, filepath.Join(name, "old"), "old")
	write(t, filepath.Join(name, "a/b/old"), "old")
	root, err := os.OpenRoot(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	if dir, err = storage.OpenTree(wrap(root)); err != nil {
		t.Fatal(err)
	}
	return dir, name
}

// same is a directory as it is.
func same(t storage.Tree) storage.Tree { return t }

// Whatever call of the file system fails, a call of a Dir has done all of its work, or it
// fails and has changed nothing. No file is left open or half written.
func TestBrokenDisk(t *testing.T) {
	store := func(name string) func(*storage.Dir) error {
		return func(dir *storage.Dir) error {
			info, created, err := dir.Put(context.Background(), name, "", strings.NewReader("new"))
			if err != nil && (created || info != storage.Info{}) {
				return nil // which is taken for a success, and none of it is there
			}
			return err
		}
	}
	const before = "a a/b a/b/old old"
	for _, c := range []struct {
		name  string
		call  func(*storage.Dir) error
		after string // what is there then
		path  string // of an object that is new then
	}{
		{"put", store("a/b/new"), "a a/b a/b/new a/b/old old", "a/b/new"},
		{"put into new folders", store("x/y/new"), before + " x x/y x/y/new", "x/y/new"},
		{"replace", store("a/b/old"), before, "a/b/old"},
		{"delete", func(dir *storage.Dir) error { return dir.Delete(context.Background(), "a/b/old") }, "old", ""},
		{"open", func(dir *storage.Dir) error {
			content, info, err := dir.Open(context.Background(), "a/b/old")
			if err != nil {
				return err
			}
			defer content.Close()
			if b, err := io.ReadAll(content); string(b) != "old" || info.Size != 3 {
				t.Errorf("read %q, %v", b, err)
			}
			return nil
		}, before, ""},
		{"list", func(dir *storage.Dir) error {
			list, _, err := dir.List(context.Background(), "", "", 10)
			if err == nil && len(list) != 2 {
				t.Errorf("listed %v", list)
			}
			return err
		}, before, ""},
	} {
		for n, failed := 0, "?"; failed != ""; n++ {
			f := &flawed{left: -1}
			dir, name := openTree(t, func(t storage.Tree) storage.Tree { f.Tree = t; return f })
			f.left = n
			err := c.call(dir)
			failed, f.left = f.failed, -1
			what := fmt.Sprintf("%s: call %d fails, %q", c.name, n, failed)
			content := map[bool]string{true: "new", false: "old"}
			if made := failed == "read" || failed == "write" || failed == "sync"; err == nil && failed != "" && failed != "remove" ||
				err != nil && !made && !errors.Is(err, errFlaw) {
				t.Errorf("%s: %v", what, err)
			}
			switch got := files(t, name); {
			case err != nil && (failed == "" || got != before):
				t.Errorf("%s: %v, and there are %s", what, err, got)
			case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrBadPath):
				t.Errorf("%s: %v", what, err)
			case err == nil && got != c.after && (failed != "remove" || strings.Contains(got, "b/old")): // of a folder
				t.Errorf("%s, but there are %s, want %s", what, got, c.after)
			case c.path == "a/b/old" || err == nil && c.path != "":
				if b, _ := os.ReadFile(filepath.Join(name, c.path)); string(b) != content[err == nil] {
					t.Errorf("%s: %v, and the object is %q", what, err, b)
				}
			}
			if left, _ := os.ReadDir(filepath.Join(name, ".tmp")); len(left) > 0 {
				t.Errorf("%s: left unfinished: %v", what, left)
			}
			for _, file := range f.opened {
				if file.Close() == nil && failed != "sync" { // whose pipe has another end
					t.Errorf("%s: %s is left open", what, file.Name())
				}
			}
		}
	}
}

// A directory that cannot be prepared is not opened, and let go.
func TestBrokenDirectory(t *testing.T) {
	for n := range 2 {
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		f := &flawed{Tree: root, left: n}
		if dir, err := storage.OpenTree(f); dir != nil || !errors.Is(err, errFlaw) || !f.closed {
			t.Errorf("opened %v, %v; %s failed, and it was closed: %v", dir, err, f.failed, f.closed)
		}
	}
}

// What happens in a directory while a call works in it is as if it had happened before or
// after.
func TestDirMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		call func(*storage.Dir) error
		at   string // before the first call of this
		do   func(*storage.Dir)
		want error
	}{
		"deleted when it is opened": {
			func(dir *storage.Dir) error { _, _, err := dir.Open(context.Background(), "old"); return err },
			"open", func(dir *storage.Dir) { _ = dir.Delete(context.Background(), "old") }, storage.ErrNotFound,
		},
		"deleted when it is listed": {
			func(dir *storage.Dir) error {
				list, _, err := dir.List(context.Background(), "", "", 10)
				if len(list) != 1 {
					err = fmt.Errorf("listed %v, %w", list, err)
				}
				return err
			},
			"lstat", func(dir *storage.Dir) { _ = dir.Delete(context.Background(), "a/b/old") }, nil,
		},
		"a folder is gone when it is listed": {
			func(dir *storage.Dir) error { _, _, err := dir.List(context.Background(), "a/b/", "", 10); return err },
			"open a/b", func(dir *storage.Dir) { _ = dir.Delete(context.Background(), "a/b/old") }, nil,
		},
		"a folder where it is to be": {
			func(dir *storage.Dir) error {
				_, _, err := dir.Put(context.Background(), "new", "", strings.NewReader("x"))
				return err
			},
			"sync", func(dir *storage.Dir) { _, _, _ = dir.Put(context.Background(), "new/x", "", strings.NewReader("x")) }, storage.ErrBadPath,
		},
		"another one where it is to be": {
			func(dir *storage.Dir) error {
				_, created, err := dir.Put(context.Background(), "new", "", strings.NewReader("x"))
				if created {
					err = errors.New("created twice")
				}
				return err
			},
			"sync", func(dir *storage.Dir) { _, _, _ = dir.Put(context.Background(), "new", "", strings.NewReader("x")) }, nil,
		},
	} {
		m := &meanwhile{at: c.at}
		dir, _ := openTree(t, func(t storage.Tree) storage.Tree { m.Tree = t; return m })
		m.do = func() { c.do(dir) }
		if err := c.call(dir); !errors.Is(err, c.want) || c.want == nil && err != nil || m.do != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// meanwhile is a directory in which something happens before a call.
type meanwhile struct {
	storage.Tree
	at string
	do func()
}

func (m *meanwhile) before(what ...string) {
	for _, w := range what {
		if do := m.do; w == m.at && do != nil {
			m.do = nil
			do()
		}
	}
}

func (m *meanwhile) Open(name string) (*os.File, error) {
	m.before("open", "open "+name)
	return m.Tree.Open(name)
}

func (m *meanwhile) Lstat(name string) (os.FileInfo, error) {
	m.before("lstat")
	return m.Tree.Lstat(name)
}

func (m *meanwhile) OpenFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	m.before("sync")
	return m.Tree.OpenFile(name, flag, perm)
}

// A path where nothing can be is refused before the body is read.
func TestBadPathBeforeTheBody(t *testing.T) {
	dir, _ := openTree(t, same)
	for _, name := range []string{"old/x", "a", "a/b", "../x", ""} {
		body := readFunc(func([]byte) (int, error) { t.Errorf("%q: the body is read", name); return 0, io.EOF })
		if _, created, err := dir.Put(context.Background(), name, "", body); created || !errors.Is(err, storage.ErrBadPath) {
			t.Errorf("%q: %v, %v", name, created, err)
		}
	}
}

// stuck is a directory that cannot be closed.
type stuck struct{ storage.Tree }

func (stuck) Close() error { return errFlaw }

// A call whose context has ended does nothing, and one whose context ends gives up.
func TestDirContexts(t *testing.T) {
	m := &meanwhile{at: "open a"}
	dir, _ := openTree(t, func(t storage.Tree) storage.Tree { m.Tree = t; return m })
	ctx, cancel := context.WithCancel(context.Background())
	m.do = cancel
	if list, _, err := dir.List(ctx, "", "", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("listed %v, %v", list, err)
	}
	if info, created, err := dir.Put(ctx, "new", "", strings.NewReader("x")); created || !errors.Is(err, context.Canceled) {
		t.Errorf("put %v, %v, %v", info, created, err)
	}
	empty, err := storage.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, _, err := empty.List(ctx, "", "", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("listed nothing: %v", err)
	}
}

// walked notes which folders are read, and how many objects are looked at.
type walked struct {
	storage.Tree
	folders []string
	objects int
}

func (w *walked) Open(name string) (*os.File, error) {
	w.folders = append(w.folders, name)
	return w.Tree.Open(name)
}

func (w *walked) Lstat(name string) (os.FileInfo, error) {
	w.objects++
	return w.Tree.Lstat(name)
}

// A list reads what it needs: not the folders that cannot have what is asked for, and not
// the objects after its end.
func TestListReadsLittle(t *testing.T) {
	w := &walked{}
	dir, name := openTree(t, func(t storage.Tree) storage.Tree { w.Tree = t; return w })
	for _, path := range []string{"a/1", "a/2", "ab/1", "ab/c/1", "b/1", "c/1", "c/2", "c/3"} {
		write(t, filepath.Join(name, path), "x")
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		folders       string
		objects       int
	}{
		{"ab/", "", 10, ". ab ab/c", 2},
		{"b", "", 10, ". b", 1},
		{"", "ab/c/1", 10, ". ab ab/c b c", 5},
		{"", "bb", 10, ". c", 4},
		{"", "", 1, ". a", 2},
		{"c/", "", 1, ". c", 2},
	} {
		w.folders, w.objects = nil, 0
		list, _, err := dir.List(context.Background(), c.prefix, c.after, c.limit)
		if got := strings.Join(w.folders, " "); err != nil || got != c.folders || w.objects != c.objects {
			t.Errorf("%d of %q after %q: %v, %v: the folders %s are read, want %s, and %d objects looked at, want %d",
				c.limit, c.prefix, c.after, list, err, got, c.folders, w.objects, c.objects)
		}
	}
}

// A Dir that is closed does nothing.
func TestClosedDir(t *testing.T) {
	f := &flawed{left: -1}
	dir, name := openTree(t, func(t storage.Tree) storage.Tree { f.Tree = t; return f })
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	f.Tree = stuck{f.Tree}
	if err := dir.Close(); !errors.Is(err, errFlaw) {
		t.Errorf("closed again: %v", err)
	}
	_, _, put := dir.Put(context.Background(), "new", "", strings.NewReader("x"))
	_, _, open := dir.Open(context.Background(), "old")
	_, _, list := dir.List(context.Background(), "", "", 1)
	for what, err := range map[string]error{"put": put, "open": open, "list": list, "delete": dir.Delete(context.Background(), "old")} {
		if err == nil || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := files(t, name); got != "a a/b a/b/old old" {
		t.Errorf("there are %s", got)
	}
}
