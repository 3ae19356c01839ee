package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/fault"
)

// Dir keeps objects as plain files in a directory of the local file system, which
// other programs of the same user may read. An object's type follows from its
// extension (see [Handler] for those it knows), whatever its sender claims, so paths
// should have extensions. Its version is made of the time it was written and its size.
//
// Files are written under ".tmp" in the directory, and moved when they are complete
// and on disk. Dir follows no symbolic links, and no path leads out of the directory
// ([os.Root]). Folders appear and vanish with the objects in them.
//
// At most one Dir, in one process, may use a directory at a time. If the file system
// does not distinguish case, "A" and "a" are one object, and a [realtime.Policy] that
// decides by path must compare accordingly.
type Dir struct {
	root tree

	mu   sync.Mutex // guards folders and their contents: held briefly, not while bodies arrive
	last time.Time  // of the latest object written
}

// tree is the directory: an [*os.Root], which tests let fail.
type tree interface {
	Mkdir(name string, perm os.FileMode) error
	MkdirAll(name string, perm os.FileMode) error
	Open(name string) (*os.File, error)
	OpenFile(name string, flag int, perm os.FileMode) (*os.File, error)
	Lstat(name string) (os.FileInfo, error)
	Chtimes(name string, atime, mtime time.Time) error
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	Close() error
}

var _ Objects = (*Dir)(nil)

const tempDir = ".tmp" // no valid path begins with a dot

// OpenDir opens a directory. It makes the directory if there is none, and removes
// files that a crash left unfinished. The caller must close the Dir.
func OpenDir(name string) (*Dir, error) {
	made := os.MkdirAll(name, 0o700)
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fault.Errorf("storage: %w", cmp.Or(made, err))
	}
	return openTree(root)
}

func openTree(root tree) (*Dir, error) {
	err := root.RemoveAll(tempDir)
	if err == nil {
		err = root.Mkdir(tempDir, 0o700)
	}
	if err != nil {
		root.Close()
		return nil, fault.Errorf("storage: %w", err)
	}
	return &Dir{root: root}, nil
}

// Close closes the directory. Calls after it fail.
func (d *Dir) Close() error { return d.root.Close() }

// Put implements [Objects].
func (d *Dir) Put(ctx context.Context, name, _ string, body io.Reader) (info Info, created bool, err error) {
	if err := ctx.Err(); err != nil {
		return Info{}, false, err
	}
	if _, err := d.stat(name); err != nil && !errors.Is(err, ErrNotFound) {
		return Info{}, false, err // before the body is read
	}
	temp := path.Join(tempDir, rand.Text())
	defer func() {
		if err != nil {
			_ = d.root.Remove(temp) // if this fails, the next start does it
		}
	}()
	if err := d.write(temp, body); err != nil {
		return Info{}, false, err
	}
	return d.commit(temp, name)
}

// write stores body in a new file, safe from a crash.
func (d *Dir) write(name string, body io.Reader) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	if err == nil {
		err = f.Sync()
	}
	return cmp.Or(err, f.Close())
}

// commit moves a complete file to its path.
func (d *Dir) commit(temp, name string) (info Info, created bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch _, err := d.stat(name); {
	case errors.Is(err, ErrNotFound):
		created = true
	case err != nil:
		return Info{}, false, err
	}
	// Versions must differ even if the clock of files, or of the machine, stands still.
	at := time.Now()
	if !at.After(d.last) {
		at = d.last.Add(1)
	}
	d.last = at
	if err := d.root.Chtimes(temp, at, at); err != nil {
		return Info{}, false, err
	}
	fi, err := d.root.Lstat(temp)
	if err != nil {
		return Info{}, false, err
	}
	if err := d.move(temp, name); err != nil {
		d.prune(name)
		return Info{}, false, err
	}
	return describe(name, fi), created, nil
}

func (d *Dir) move(temp, name string) error {
	if folder := path.Dir(name); folder != "." {
		if err := d.root.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	return d.root.Rename(temp, name)
}

// Delete implements [Objects].
func (d *Dir) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.stat(name); err != nil {
		return err
	}
	if err := d.root.Remove(name); err != nil {
		return err
	}
	d.prune(name)
	return nil
}

// prune removes the folders of an object that are empty.
func (d *Dir) prune(name string) {
	for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
		if d.root.Remove(folder) != nil {
			return // not empty
		}
	}
}

// Open implements [Objects].
func (d *Dir) Open(ctx context.Context, name string) (io.ReadSeekCloser, Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, Info{}, err
	}
	if _, err := d.stat(name); err != nil {
		return nil, Info{}, err
	}
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Info{}, ErrNotFound
	}
	if err != nil {
		return nil, Info{}, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, Info{}, err
	}
	return f, describe(name, fi), nil
}

// stat returns the file of an object. The error is ErrNotFound if an object could be at
// the path, and ErrBadPath if not: links, folders, devices and paths beneath a file
// are not objects.
func (d *Dir) stat(name string) (fs.FileInfo, error) {
	if !ValidPath(name) {
		return nil, ErrBadPath
	}
	for i, c := range []byte(name) {
		if c != '/' {
			continue
		}
		switch fi, err := d.lstat(name[:i]); {
		case err != nil:
			return nil, err
		case !fi.IsDir():
			return nil, ErrBadPath
		}
	}
	fi, err := d.lstat(name)
	if err == nil && !fi.Mode().IsRegular() {
		err = ErrBadPath
	}
	return fi, err
}

// lstat describes what is at a path. The error is ErrNotFound if there is nothing.
func (d *Dir) lstat(name string) (fs.FileInfo, error) {
	fi, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	return fi, err
}

func describe(name string, fi fs.FileInfo) Info {
	version := strconv.FormatInt(fi.ModTime().UnixNano(), 36) + "." + strconv.FormatInt(fi.Size(), 36)
	return Info{Path: name, Size: fi.Size(), Type: typeOf(name), Version: version}
}

// List implements [Objects]. It reads the names of whole folders.
func (d *Dir) List(ctx context.Context, prefix, cursor string, limit int) ([]Info, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	l := &lister{dir: d, ctx: ctx, prefix: prefix, after: cursor, limit: limit}
	if err := l.walk("."); err != nil {
		return nil, "", err
	}
	if len(l.found) <= limit {
		return l.found, "", nil
	}
	l.found = l.found[:limit]
	return l.found, l.found[limit-1].Path, nil
}

type lister struct {
	dir           *Dir
	ctx           context.Context
	prefix, after string
	limit         int
	found         []Info // until there is one more than limit
}

func (l *lister) walk(folder string) error {
	names, err := l.names(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if len(l.found) > l.limit {
			return nil
		}
		full := path.Join(folder, name)
		if strings.HasSuffix(name, "/") {
			err = l.walk(full)
		} else {
			err = l.add(full)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) add(name string) error {
	fi, err := l.dir.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err == nil {
		l.found = append(l.found, describe(name, fi))
	}
	return err
}

// names returns the names in a folder, in the order of paths. The names of folders get
// a slash, so that they sort like the objects in them.
func (l *lister) names(folder string) ([]string, error) {
	f, err := l.dir.root.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // pruned meanwhile
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // pruned now
	}
	var names []string
	for _, e := range entries {
		full := path.Join(folder, e.Name())
		switch {
		case !ValidPath(full):
		case e.IsDir():
			full += "/"
			if (strings.HasPrefix(full, l.prefix) || strings.HasPrefix(l.prefix, full)) &&
				(full > l.after || strings.HasPrefix(l.after, full)) {
				names = append(names, e.Name()+"/")
			}
		case e.Type().IsRegular() && strings.HasPrefix(full, l.prefix) && full > l.after:
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}
