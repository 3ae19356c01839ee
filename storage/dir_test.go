package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/storage"
	"github.com/maravilla-realtime/realtime/storage/storagetest"
)

func put(t testing.TB, dir *storage.Dir, path, content string) storage.Info {
	t.Helper()
	info, _, err := dir.Put(context.Background(), path, "", strings.NewReader(content))
	if err != nil {
		t.Fatalf("put %q: %v", path, err)
	}
	return info
}

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Objects { return newDir(t) })
}

// What a crash left unfinished is gone at the next start, and nothing else is.
func TestCrash(t *testing.T) {
	name := t.TempDir()
	write(t, filepath.Join(name, ".tmp", "half"), "x")
	write(t, filepath.Join(name, "photos", "1.png"), "x")
	write(t, filepath.Join(name, ".hidden"), "x")
	dir, err := storage.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if got := files(t, name); got != ".hidden photos photos/1.png" {
		t.Errorf("there are %s", got)
	}
	if left, err := os.ReadDir(filepath.Join(name, ".tmp")); err != nil || len(left) > 0 {
		t.Errorf("left unfinished: %v, %v", left, err)
	}
}

func TestOpenDirFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	write(t, name, "x")
	if _, err := storage.OpenDir(name); err == nil {
		t.Error("a file was opened as a directory")
	}
}

// A version is another one each time, also within one tick of the clock, and
// stays as long as the object does.
func TestVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose clock stands still
		dir := newDir(t)
		seen := map[string]bool{}
		for range 100 {
			info := put(t, dir, "a", "x")
			f, opened, err := dir.Open(context.Background(), "a")
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			if seen[info.Version] || opened != info {
				t.Fatalf("stored %+v, opened %+v", info, opened)
			}
			seen[info.Version] = true
		}
	})
}

// A body that fails leaves what there was, and the folders there were.
func TestFailedPut(t *testing.T) {
	name := t.TempDir()
	dir, err := storage.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	boom := errors.New("boom")
	failing := func() io.Reader { return io.MultiReader(strings.NewReader("new"), errReader{boom}) }
	put(t, dir, "a", "old")
	for _, path := range []string{"a", "b/c/d"} {
		if _, _, err := dir.Put(context.Background(), path, "", failing()); !errors.Is(err, boom) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := files(t, name); got != "a" {
		t.Errorf("there are %s", got)
	}
	if left, _ := os.ReadDir(filepath.Join(name, ".tmp")); len(left) > 0 {
		t.Errorf("left unfinished: %v", left)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A reader keeps the object that it opened.
func TestReplacedWhileRead(t *testing.T) {
	dir := newDir(t)
	put(t, dir, "a", "old")
	for _, change := range []func(){
		func() { put(t, dir, "a", "new!") },
		func() { _ = dir.Delete(context.Background(), "a") },
	} {
		f, info, err := dir.Open(context.Background(), "a")
		if err != nil {
			t.Fatal(err)
		}
		change()
		if b, err := io.ReadAll(f); err != nil || int64(len(b)) != info.Size {
			t.Errorf("read %q of %d bytes, %v", b, info.Size, err)
		}
		f.Close()
	}
}

// Folders come and go with objects, in whatever order those do.
func TestFoldersVanish(t *testing.T) {
	name := t.TempDir()
	dir, err := storage.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for range 15 {
				path := fmt.Sprintf("a/b/%d", w)
				if _, _, err := dir.Put(context.Background(), path, "", strings.NewReader("x")); err != nil {
					t.Error(err)
				}
				if err := dir.Delete(context.Background(), path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := files(t, name); got != "" {
		t.Errorf("left %s", got)
	}
	put(t, dir, "a", "a folder's name is free again")
	if _, _, err := dir.Put(context.Background(), "a/b", "", strings.NewReader("x")); !errors.Is(err, storage.ErrBadPath) {
		t.Errorf("beneath an object: %v", err)
	}
}

func TestList(t *testing.T) {
	name := t.TempDir()
	dir, err := storage.OpenDir(name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	all := []string{"a", "a-b", "a.txt", "ab/c", "ab-", "ab.c", "b/a/c", "b/a-c/d", "b/a.c", "b/b", "c", "c d/e", "é/x", "z/z/z/z"}
	for _, path := range all {
		put(t, dir, path, path)
	}
	write(t, filepath.Join(name, ".hidden", "x"), "x")
	if err := os.Symlink("a", filepath.Join(name, "link")); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	store := storage.New(nil, dir, nil)
	for _, prefix := range []string{"", "a", "a-", "ab", "ab/", "ab/c", "b", "b/", "b/a", "b/a-c/d", "b/a-c/d/", "c ", "z/z", "nothing", "..", "/", "../", "link", "é"} {
		var want []string
		for _, path := range all {
			if strings.HasPrefix(path, prefix) {
				want = append(want, path)
			}
		}
		for _, limit := range []int{1, 2, 3, len(all), 0} {
			var got []string
			for cursor := ""; ; {
				list, next, err := store.List(context.Background(), prefix, cursor, limit)
				if err != nil || limit > 0 && len(list) > limit {
					t.Fatalf("%q, %d: %v, %v", prefix, limit, list, err)
				}
				for _, info := range list {
					got = append(got, info.Path)
					if info.Size != int64(len(info.Path)) || info.Version == "" {
						t.Errorf("listed %+v", info)
					}
				}
				if cursor = next; next == "" {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("prefix %q, %d at a time: %s", prefix, limit, diff)
			}
		}
	}
}

// Random names made of dangerous parts never leave the directory. An accepted name works,
// and a refused one leaves nothing.
func FuzzPath(f *testing.F) {
	for _, name := range []string{"a", "a/b.png", "../x", "/x", `..\x`, "C:x", "link/x", "out/x", "out", "a\x00", "con", ".tmp/x", "a/../../x", "a.", "file/x"} {
		f.Add(name)
	}
	base := f.TempDir()
	root := filepath.Join(base, "root")
	write(f, filepath.Join(base, "outside", "secret"), "secret")
	write(f, filepath.Join(root, "file"), "x")
	for link, to := range map[string]string{"link": "folder", "out": "../outside", "up": "..", "etc": "/etc"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			f.Fatal(err)
		}
	}
	dir, err := storage.OpenDir(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { dir.Close() })
	before := files(f, base)
	f.Fuzz(func(t *testing.T, name string) {
		if name == "file" {
			return
		}
		content := fmt.Sprint(rand.Int())
		_, created, err := dir.Put(t.Context(), name, "", strings.NewReader(content))
		got, _, openErr := dir.Open(t.Context(), name)
		if err != nil {
			if !errors.Is(err, storage.ErrBadPath) || !errors.Is(openErr, storage.ErrBadPath) || !errors.Is(dir.Delete(t.Context(), name), storage.ErrBadPath) {
				t.Errorf("%q: put %v, open %v", name, err, openErr)
			}
		} else {
			if openErr != nil || !created || !storage.ValidPath(name) {
				t.Fatalf("%q: created %v, open %v", name, created, openErr)
			}
			b, err := io.ReadAll(got)
			got.Close()
			if err != nil || string(b) != content {
				t.Errorf("%q: read %q, %v", name, b, err)
			}
			if list, _, err := dir.List(t.Context(), name, "", 1); err != nil || len(list) != 1 || list[0].Path != name {
				t.Errorf("%q: listed %v, %v", name, list, err)
			}
			if err := dir.Delete(t.Context(), name); err != nil {
				t.Errorf("%q: delete %v", name, err)
			}
		}
		if after := files(t, base); after != before {
			t.Fatalf("%q: there are %s", name, after)
		}
	})
}

// A valid path is one that every package for paths leaves as it is.
func FuzzValidPath(f *testing.F) {
	for _, name := range []string{"a/b.png", "../x", "a//b", "./a", "a/./b", `a\b`, "C:x", "nul.txt", "COM¹", "a\x00", "\xff", ".tmp", "a ", "a/"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !storage.ValidPath(name) {
			return
		}
		if path.Clean(name) != name || !filepath.IsLocal(name) || !fs.ValidPath(name) || strings.ContainsAny(name, "\\:\x00\n") ||
			!utf8.ValidString(name) || len(name) > storage.MaxPath || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
			t.Errorf("%q is taken for valid", name)
		}
	})
}
