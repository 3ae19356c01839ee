package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing/iotest"

	"github.com/maravilla-realtime/realtime/storage"
)

func openReturnsWhatWasPut(ctx context.Context, o storage.Objects) error {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	var all []object
	for path, content := range map[string]string{
		"empty": "", "one": "x", "folder/every.bin": string(every), "folder/deep/large.txt": strings.Repeat("0123456789abcdef", 150_000),
	} {
		stored, err := put(ctx, o, path, content)
		if err != nil {
			return err
		}
		all = append(all, stored)
	}
	return holds(ctx, o, all...)
}

// trickle yields nothing and no error, as a reader may, before each byte.
type trickle struct {
	io.Reader
	nothing bool
}

func (t *trickle) Read(p []byte) (int, error) {
	if t.nothing = !t.nothing; t.nothing || len(p) == 0 {
		return 0, nil
	}
	return t.Reader.Read(p[:1])
}

func bodiesAreRead(ctx context.Context, o storage.Objects) error {
	const content = "the whole content"
	for path, come := range map[string]func(io.Reader) io.Reader{
		"halves": iotest.HalfReader, "trickle": func(r io.Reader) io.Reader { return &trickle{Reader: r} },
		"end with data": iotest.DataErrReader,
	} {
		b := &body{Reader: come(strings.NewReader(content))}
		info, created, err := o.Put(ctx, path, "", b)
		if err != nil || !created || !b.ended {
			return fmt.Errorf("put %q: %v, created %v, read until io.EOF %v", path, err, created, b.ended)
		}
		if err := holds(ctx, o, object{path, content, info.Version}); err != nil {
			return err
		}
	}
	return nil
}

func unknownIsNotFound(ctx context.Context, o storage.Objects) error {
	absent := []string{"a", "a.tx", "a.txt2", "folder/b", "none/at/all"}
	if err := errors.Join(missing(ctx, o, absent...), puts(ctx, o, "a.txt", "folder/b.txt", "gone")); err != nil {
		return err
	}
	if err := errors.Join(o.Delete(ctx, "gone"), missing(ctx, o, append(absent, "gone")...)); err != nil {
		return err
	}
	for _, path := range append(absent, "gone") {
		if err := o.Delete(ctx, path); !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("delete %q, which is not there: %v, want storage.ErrNotFound", path, err)
		}
	}
	return nil
}

func putReplaces(ctx context.Context, o storage.Objects) error {
	for i, content := range []string{"first", "the second is longer", "3rd", "", "deleted before"} {
		created := i == 0
		if content == "deleted before" {
			if err := o.Delete(ctx, "a/b"); err != nil {
				return err
			}
			created = true
		}
		info, said, err := o.Put(ctx, "a/b", "", strings.NewReader(content))
		if err != nil {
			return err
		}
		if said != created {
			return fmt.Errorf("put %q: created is %v", content, said)
		}
		if err := holds(ctx, o, object{"a/b", content, info.Version}); err != nil {
			return err
		}
	}
	return nil
}

func versionsChange(ctx context.Context, o storage.Objects) error {
	seen := map[string]string{}
	for i := range 20 {
		stored, err := put(ctx, o, "a", fmt.Sprintf("%02d", i)) // of one size, and within one tick of a clock
		if err != nil {
			return err
		}
		if other, ok := seen[stored.version]; ok {
			return fmt.Errorf("%q and %q have one version", other, stored.content)
		}
		seen[stored.version] = stored.content
		for range 2 { // as long as nobody writes, it stays
			if err := holds(ctx, o, stored); err != nil {
				return err
			}
		}
	}
	return nil
}

func pathsAreKeptApart(ctx context.Context, o storage.Objects) error {
	paths := []string{
		"a/b", "a%2fb", "a%2Fb", "a+b", "a%20b", "a b", "a-b", "a_b", "a.b", "a/b c/d+e&f=g#h;i,j.txt", "ünïcode/Ω/日本.txt", "👩‍👧", "e/\u0301",
		"$x", "~", "-rf", "x..y", "x'y", "x.tmp", "x~", "(x)[1]{2}", "!@^`", "%", "%00", "%2e%2e", "console", "index.html",
		strings.Repeat("x", storage.MaxPath), strings.Repeat("d/", storage.MaxPath/2) + "d",
	}
	if err := puts(ctx, o, paths...); err != nil {
		return err
	}
	for _, path := range paths {
		if err := holds(ctx, o, object{path: path, content: path}); err != nil {
			return err
		}
	}
	got, _, err := list(ctx, o, "", 1000)
	slices.Sort(got)
	slices.Sort(paths)
	if err == nil && !slices.Equal(got, paths) {
		err = fmt.Errorf("listed %q, want %q", got, paths)
	}
	return err
}

// Some have folders, in which an object and a folder cannot have one name, and
// some do not.
func foldersDoNoHarm(ctx context.Context, o storage.Objects) error {
	if err := puts(ctx, o, "object", "folder/object"); err != nil {
		return err
	}
	want := []object{{path: "object", content: "object"}, {path: "folder/object", content: "folder/object"}}
	for _, path := range []string{"object/beneath", "folder"} {
		stored, err := put(ctx, o, path, path)
		switch {
		case err == nil:
			want = append(want, stored)
		case !errors.Is(err, storage.ErrBadPath):
			return err
		}
		if err := holds(ctx, o, want...); err != nil {
			return err
		}
	}
	return nil
}

func nothingIsSeenBefore(ctx context.Context, o storage.Objects) error {
	old, err := put(ctx, o, "old", "old")
	if err != nil {
		return err
	}
	for _, path := range []string{"old", "new"} {
		look := func() error {
			return inTime(ctx, "who reads while a body comes", func() error {
				paths, _, err := list(ctx, o, "", 10)
				if err == nil && !slices.Equal(paths, []string{"old"}) {
					err = fmt.Errorf("listed %q", paths)
				}
				return errors.Join(err, holds(ctx, o, old), missing(ctx, o, "new"))
			})
		}
		var seen error
		b := &body{Reader: strings.NewReader(strings.Repeat("new", 100_000)), atEnd: func() error { seen = look(); return seen }}
		if _, _, err := o.Put(ctx, path, "", b); seen != nil || err != nil {
			return fmt.Errorf("before the end of the body of %q: %w", path, errors.Join(seen, err))
		}
		if got, _, err := read(ctx, o, path); err != nil || len(got) != 300_000 {
			return fmt.Errorf("after the end of the body of %q: %s, %v", path, show(got), err)
		}
		if path == "old" {
			if old, err = put(ctx, o, "old", "old"); err != nil {
				return err
			}
		}
	}
	return nil
}

func failedBodyLeaves(ctx context.Context, o storage.Objects) error {
	old, err := put(ctx, o, "old", "old")
	if err != nil {
		return err
	}
	broken := errors.New("the sender is gone")
	for _, came := range []string{"", "some", strings.Repeat("much", 100_000)} {
		for _, path := range []string{"old", "new", "folder/new"} {
			// iotest.ErrReader yields no bytes, so that all that came was taken.
			_, _, err := o.Put(ctx, path, "", io.MultiReader(strings.NewReader(came), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) {
				return fmt.Errorf("put %q, whose body fails after %d bytes: %v", path, len(came), err)
			}
			paths, _, err := list(ctx, o, "", 10)
			if err == nil && !slices.Equal(paths, []string{"old"}) {
				err = fmt.Errorf("listed %q", paths)
			}
			if err := errors.Join(err, holds(ctx, o, old), missing(ctx, o, "new", "folder/new")); err != nil {
				return fmt.Errorf("after a body of %q that failed: %w", path, err)
			}
		}
	}
	return nil
}

func readersGetOne(ctx context.Context, o storage.Objects) error {
	content := strings.Repeat("old", 100_000)
	for what, change := range map[string]func() error{
		"replaced": func() error { _, err := put(ctx, o, "a", strings.Repeat("new!", 100_000)); return err },
		"deleted":  func() error { return o.Delete(ctx, "a") },
	} {
		if _, err := put(ctx, o, "a", content); err != nil {
			return err
		}
		f, _, err := o.Open(ctx, "a")
		if err != nil {
			return err
		}
		begin := make([]byte, 10)
		if _, err := io.ReadFull(f, begin); err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		rest, err := io.ReadAll(f)
		f.Close()
		if got := string(begin) + string(rest); err == nil && got != content {
			return fmt.Errorf("who reads an object that is %s gets %s", what, show(got))
		}
	}
	return nil
}

func openSeeks(ctx context.Context, o storage.Objects) error {
	if _, err := put(ctx, o, "a", "0123456789"); err != nil {
		return err
	}
	f, _, err := o.Open(ctx, "a")
	if err != nil {
		return err
	}
	defer f.Close()
	other, _, err := o.Open(ctx, "a") // which has a place of its own
	if err != nil {
		return err
	}
	defer other.Close()
	for _, c := range []struct {
		offset int64
		whence int
		at     int64
		want   string
	}{{0, io.SeekEnd, 10, ""}, {0, io.SeekStart, 0, "012"}, {2, io.SeekCurrent, 5, "567"}, {-2, io.SeekEnd, 8, "89"}, {4, io.SeekStart, 4, "456"}} {
		at, err := f.Seek(c.offset, c.whence)
		if err != nil || at != c.at {
			return fmt.Errorf("seek %d from %d: at %d, %v", c.offset, c.whence, at, err)
		}
		b, err := io.ReadAll(io.LimitReader(f, 3))
		if err != nil || string(b) != c.want {
			return fmt.Errorf("seek %d from %d: read %q, want %q, %v", c.offset, c.whence, b, c.want, err)
		}
	}
	b, err := io.ReadAll(other)
	if err == nil && string(b) != "0123456789" {
		err = fmt.Errorf("another reader read %q", b)
	}
	return err
}

func deleteRemoves(ctx context.Context, o storage.Objects) error {
	stay := []string{"a.txt", "a/b-c", "b", "z/a/b"}
	if err := errors.Join(puts(ctx, o, "a/b"), puts(ctx, o, stay...), o.Delete(ctx, "a/b"), missing(ctx, o, "a/b")); err != nil {
		return err
	}
	for _, path := range stay {
		if err := holds(ctx, o, object{path: path, content: path}); err != nil {
			return err
		}
	}
	got, _, err := list(ctx, o, "", 10)
	slices.Sort(got)
	if err == nil && !slices.Equal(got, stay) {
		err = fmt.Errorf("listed %q, want %q", got, stay)
	}
	return err
}

func callsDoNotDisturb(ctx context.Context, o storage.Objects) error {
	const n, rounds = 16, 10
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		all.Go(func() {
			path := fmt.Sprintf("folder/%02d/object", i)
			for range rounds {
				mine, err := put(ctx, o, path, path)
				_, _, err2 := list(ctx, o, "folder/", 2*n)
				errs[i] = errors.Join(errs[i], err, err2, holds(ctx, o, mine), o.Delete(ctx, path), missing(ctx, o, path), puts(ctx, o, path))
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	got, _, err := list(ctx, o, "", 2*n)
	if err == nil && (len(got) != n || !slices.IsSorted(got)) {
		err = fmt.Errorf("%d calls at once left %q", n, got)
	}
	return err
}

// lastWins has all bodies come at the same time, and end one after the other, as
// [storage.Store] sees to.
func lastWins(ctx context.Context, o storage.Objects) error {
	const n = 8
	var writing, begun sync.WaitGroup
	turn := make(chan struct{}, 1)
	creators, last, errs := 0, object{}, make([]error, n)
	begun.Add(n)
	for i := range n {
		writing.Go(func() {
			content := strings.Repeat(string(rune('a'+i)), 10_000+i)
			arrive := sync.OnceFunc(begun.Done)
			b := &body{Reader: strings.NewReader(content), atEnd: func() error {
				arrive()
				err := inTime(ctx, "a writer, while another's body comes,", func() error { begun.Wait(); return nil })
				if err == nil {
					turn <- struct{}{}
				}
				return err
			}}
			info, created, err := o.Put(ctx, "a/b", "", b)
			arrive()
			if b.ended {
				defer func() { <-turn }()
			}
			if errs[i] = err; err != nil || !b.ended {
				return
			}
			if created {
				creators++
			}
			last = object{"a/b", content, info.Version}
			errs[i] = holds(ctx, o, last)
		})
	}
	writing.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if creators != 1 {
		return fmt.Errorf("%d of %d writers were told that they created the object", creators, n)
	}
	return holds(ctx, o, last)
}

func endedContextIsHonoured(ctx context.Context, o storage.Objects) error {
	kept, err := put(ctx, o, "a", "kept")
	if err != nil {
		return err
	}
	ended, end := context.WithCancel(ctx)
	end()
	_, _, putErr := o.Put(ended, "a", "", strings.NewReader("replaced"))
	_, _, newErr := o.Put(ended, "new", "", strings.NewReader("new"))
	f, _, openErr := o.Open(ended, "a")
	if openErr == nil {
		f.Close()
	}
	_, _, listErr := o.List(ended, "", "", 10)
	for i, err := range []error{putErr, newErr, openErr, listErr, o.Delete(ended, "a")} {
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s with an ended context: %v", []string{"Put", "Put", "Open", "List", "Delete"}[i], err)
		}
	}
	return errors.Join(holds(ctx, o, kept), missing(ctx, o, "new"))
}
