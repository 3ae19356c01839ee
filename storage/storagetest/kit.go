package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/maravilla-realtime/realtime/storage"
)

// object is what was put at a path.
type object struct {
	path, content string
	version       string // "" for any
}

// put stores content and checks what is said of it.
func put(ctx context.Context, o storage.Objects, path, content string) (object, error) {
	b := &body{Reader: strings.NewReader(content)}
	info, _, err := o.Put(ctx, path, "text/plain", b)
	if err != nil {
		return object{}, fmt.Errorf("put %q: %w", path, err)
	}
	if !b.ended {
		return object{}, fmt.Errorf("put %q: the body was not read until io.EOF", path)
	}
	stored := object{path, content, info.Version}
	return stored, describes(info, stored)
}

// puts stores objects that contain their paths.
func puts(ctx context.Context, o storage.Objects, paths ...string) error {
	for _, path := range paths {
		if _, err := put(ctx, o, path, path); err != nil {
			return err
		}
	}
	return nil
}

// describes reports how info differs from what it should say. The type is whatever
// the store makes of it.
func describes(info storage.Info, want object) error {
	if info.Path != want.path || info.Size != int64(len(want.content)) || want.version != "" && info.Version != want.version {
		return fmt.Errorf("%q of %d bytes and version %q is described as %+v", want.path, len(want.content), want.version, info)
	}
	return validVersion(info.Version)
}

func validVersion(v string) error {
	const valid = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	if v == "" || len(v) > 128 || strings.Trim(v, valid) != "" {
		return fmt.Errorf("%.200q is no version", v)
	}
	return nil
}

// holds reports how what is at the paths of want differs from it.
func holds(ctx context.Context, o storage.Objects, want ...object) error {
	for _, w := range want {
		got, info, err := read(ctx, o, w.path)
		if err != nil {
			return err
		}
		if got != w.content {
			return fmt.Errorf("%q has %s, want %s", w.path, show(got), show(w.content))
		}
		if err := describes(info, w); err != nil {
			return err
		}
	}
	return nil
}

func read(ctx context.Context, o storage.Objects, path string) (string, storage.Info, error) {
	f, info, err := o.Open(ctx, path)
	if err != nil {
		return "", info, fmt.Errorf("open %q: %w", path, err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", info, fmt.Errorf("read %q: %w", path, err)
	}
	return string(b), info, nil
}

func show(content string) string { return fmt.Sprintf("%d bytes %.32q", len(content), content) }

// missing reports if there is something at the paths.
func missing(ctx context.Context, o storage.Objects, paths ...string) error {
	for _, path := range paths {
		f, _, err := o.Open(ctx, path)
		if err == nil {
			f.Close()
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("open %q, which is not there: %v, want storage.ErrNotFound", path, err)
		}
	}
	return nil
}

// maxPages is more than any list of a rule has.
const maxPages = 200

// list returns the paths of all pages, after a look at what is said of them, which
// is true of objects that contain their paths.
func list(ctx context.Context, o storage.Objects, prefix string, limit int) (paths []string, pages int, err error) {
	for cursor := ""; ; {
		page, next, err := o.List(ctx, prefix, cursor, limit)
		if err != nil {
			return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
		}
		if len(page) > limit {
			return nil, 0, fmt.Errorf("list %q: %d objects, want %d at most", prefix, len(page), limit)
		}
		for _, info := range page {
			if err := describes(info, object{path: info.Path, content: info.Path}); err != nil {
				return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
			}
			paths = append(paths, info.Path)
		}
		if pages++; next == "" {
			return paths, pages, nil
		}
		if cursor = next; pages == maxPages {
			return nil, 0, fmt.Errorf("list %q: more than %d pages", prefix, maxPages)
		}
	}
}

// body is a body that calls a function, if there is one, before it ends.
type body struct {
	io.Reader
	atEnd func() error
	ended bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != io.EOF || b.ended {
		return n, err
	}
	if b.atEnd != nil {
		if err := b.atEnd(); err != nil {
			return n, err
		}
	}
	b.ended = true
	return n, io.EOF
}

// inTime returns what f returns, or an error if ctx ends before that.
func inTime(ctx context.Context, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }() // ends at the latest with what it waits for
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s waits: %w", what, ctx.Err())
	}
}
