// Package storage keeps files whose writes are events: who uploads, replaces or
// deletes an object, from a browser or in Go, makes every page that shows it
// know.
//
//	dir, err := storage.OpenDir("/var/lib/app/objects")
//	…
//	store := storage.New(rt, dir, nil)
//	mux.Handle("/api/storage/", storage.Handler(rt, store, nil))
//
// [Store] is what host code holds: each of its writes is announced, in the order
// in which the object was written. Behind it stands [Objects], which is a local
// directory ([Dir]) or whatever a host has. [Handler] serves browsers, as far as
// the host's [realtime.Policy] allows.
package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/detach"
	"github.com/maravilla-realtime/realtime/internal/keylock"
	"github.com/maravilla-realtime/realtime/internal/outbox"
)

// Errors that functions of this package return, all possibly wrapped.
var (
	// ErrNotFound: there is no object at the path.
	ErrNotFound = errors.New("storage: not found")
	// ErrBadPath: nothing can be stored at the path. See [ValidPath]; besides, an
	// object and a folder cannot have one name, and [Dir] follows no links.
	ErrBadPath = errors.New("storage: bad path")
	// ErrUnannounced: the write is done, but whether those who watch were told is
	// not known. To put or delete again announces again.
	ErrUnannounced = errors.New("storage: stored, but not announced")
	// ErrNoAnswer: [Objects] did not answer in time: see [Options].
	ErrNoAnswer = detach.ErrNoAnswer
)

// Info describes an object.
type Info struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // bytes
	// Type is the media type. It is a claim, of the uploader or of the path's
	// extension: [Handler] shows what is harmless to show, whatever it says.
	Type string `json:"type"`
	// Version is opaque, at most 128 bytes of letters, digits and "._-", and another
	// one whenever the content is.
	Version string `json:"version"`
}

// Objects is where objects are kept. [Store] calls it with paths that are valid
// (see [ValidPath]), and announces what it does. Its methods may be called
// concurrently, also for the same path, may block until ctx ends, and return
// errors of the file system or network as they are. Where ctx has ended before the
// call, they do nothing and return its error.
//
// Package storagetest proves an implementation against these rules.
type Objects interface {
	// Put stores what body yields until [io.EOF], in place of the object at path if
	// there is one; created says that there was none. Before body has returned
	// io.EOF nothing of it can be seen, at once thereafter all of it: a reader gets
	// the old object or the new one. If body returns another error, Put returns it,
	// wrapped or not, and leaves nothing behind. The caller lets no two calls for
	// one path be behind the end of their bodies at the same time. typ is the media
	// type that the sender claims, "" for none. Put does not hold on to body.
	// Errors: ErrBadPath, where the store cannot have an object of that name.
	Put(ctx context.Context, path, typ string, body io.Reader) (info Info, created bool, err error)

	// Delete removes an object. Errors: ErrNotFound.
	Delete(ctx context.Context, path string) error

	// Open returns an object to read. If the object is replaced or deleted meanwhile,
	// its content stays what it was, or reading fails. The caller closes it. Errors:
	// ErrNotFound.
	Open(ctx context.Context, path string) (io.ReadSeekCloser, Info, error)

	// List returns at most limit objects, which is positive, whose paths begin with
	// prefix, ordered by path, as bytes. next is "" when there are no more, else an
	// opaque cursor to go on from; cursor "" begins.
	List(ctx context.Context, prefix, cursor string, limit int) (list []Info, next string, err error)
}

// Store announces what is written to [Objects]. Its methods may be called
// concurrently. Writes that do not come through it are not announced.
//
// What could not be announced is kept in memory, the last event of each path,
// 1,024 at most: it is announced when the write is repeated, or else before the
// next event of its path.
type Store struct {
	events  *outbox.Outbox
	objects bounded
	writing keylock.Locks
}

// Options are all optional: the zero value of each field means its default, a
// negative value means no limit, and a nil *Options means all defaults.
type Options struct {
	// CallTimeout is how long one call of [Objects] but Put may take, and one of what
	// its Open returns. Default 30 s.
	CallTimeout time.Duration

	// PutTimeout is how long Put of [Objects] may work between two reads of its body,
	// and after the end of it, where some stores send what they have gathered to
	// another machine. Default 5 min.
	PutTimeout time.Duration
}

// New returns a store that announces through events, a [*realtime.Realtime] outside
// of tests. opts may be nil.
func New(events realtime.Publisher, objects Objects, opts *Options) *Store {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.CallTimeout = cmp.Or(o.CallTimeout, 30*time.Second)
	o.PutTimeout = cmp.Or(o.PutTimeout, 5*time.Minute)
	return &Store{events: outbox.New(events, unheard), objects: bounded{objects, o}}
}

// Put stores an object and announces it, as created where there was none at the
// path, else as updated. It takes body to its end, which is not limited here.
// Writers of one path do not wait for each other's bodies; the last to finish
// wins. ctx counts until the end of body, and its error means that nothing was
// stored. Errors: [ErrBadPath], [ErrUnannounced] with the Info, those of body, and
// of [Objects]. After one of Objects the object is perhaps stored: if one is there,
// or nobody can tell, it was announced as updated.
func (s *Store) Put(ctx context.Context, path, typ string, body io.Reader) (info Info, created bool, err error) {
	if !ValidPath(path) {
		return Info{}, false, ErrBadPath
	}
	w := begin(ctx, body, s.objects.opts.PutTimeout, func() (func(), error) { return s.writing.Lock(ctx, path) })
	defer w.close()
	info, created, err = s.objects.Put(w.ctx, path, typ, w)
	w.stop()
	switch {
	case err != nil && w.ended && !errors.Is(err, ErrBadPath):
		return Info{}, false, s.unsurePut(ctx, path, w.ctx.Explain(err))
	case err != nil:
		return Info{}, false, w.ctx.Explain(err)
	}
	ev := realtime.ObjectUpdated(path)
	if created {
		ev = realtime.ObjectCreated(path)
	}
	return info, created, unannounced(s.events.Announce(ctx, path, ev.WithVersion(info.Version)))
}

// unsurePut returns the error of a Put that has failed after the end of the body.
// What is there, or is perhaps there, is announced: who reads again sees it.
func (s *Store) unsurePut(ctx context.Context, path string, cause error) error {
	info, err := s.look(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return cause
	}
	ev := realtime.ObjectUpdated(path).WithVersion(info.Version)
	return errors.Join(cause, unannounced(s.events.Announce(ctx, path, ev)))
}

// Delete removes an object and announces that. Where there is none, and an earlier
// deletion could not be announced, or has failed and was done all the same, it
// announces that one. ctx counts until Objects has been told to delete, and its
// error means that nothing was deleted. Errors: [ErrBadPath], [ErrNotFound],
// [ErrUnannounced], and those of [Objects], after which the object is perhaps
// deleted: if it is seen to be, that was announced, and if nobody can tell, it was
// announced as updated, so that who shows it looks.
func (s *Store) Delete(ctx context.Context, path string) error {
	if !ValidPath(path) {
		return ErrBadPath
	}
	unlock, err := s.writing.Lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	ev := realtime.ObjectDeleted(path)
	err = s.objects.Delete(ctx, path)
	switch {
	case err == nil:
		return unannounced(s.events.Announce(ctx, path, ev))
	case errors.Is(err, ErrNotFound):
		if owed, err := s.events.Retry(path, ev.Type); owed {
			return unannounced(err)
		}
	case !errors.Is(err, ErrBadPath):
		return s.unsureDelete(ctx, path, err)
	}
	return err
}

// unsureDelete returns the error of a deletion that has failed.
func (s *Store) unsureDelete(ctx context.Context, path string, cause error) error {
	ev := realtime.ObjectDeleted(path)
	_, err := s.look(ctx, path)
	var announced error
	switch {
	case errors.Is(err, ErrNotFound):
		if announced = s.events.Announce(ctx, path, ev); announced == nil {
			s.events.Remember(path, ev)
		}
		return errors.Join(cause, unannounced(announced))
	case err != nil:
		announced = s.events.Announce(ctx, path, realtime.ObjectUpdated(path))
	}
	s.events.MaybeWritten(ctx, path, ev)
	return errors.Join(cause, unannounced(announced))
}

// look says what is at a path after a write that has failed, whoever has gone.
func (s *Store) look(ctx context.Context, path string) (Info, error) {
	content, info, err := s.objects.Open(context.WithoutCancel(ctx), path)
	if err == nil {
		err = content.Close()
	}
	return info, err
}

// Open returns an object to read; see [Objects]. Errors also: [ErrBadPath].
func (s *Store) Open(ctx context.Context, path string) (io.ReadSeekCloser, Info, error) {
	if !ValidPath(path) {
		return nil, Info{}, ErrBadPath
	}
	return s.objects.Open(ctx, path)
}

// maxList is the most objects of one call of List.
const maxList = 1000

// List returns objects whose paths begin with prefix; see [Objects]. It returns
// 1,000 at most, also where limit is not positive.
func (s *Store) List(ctx context.Context, prefix, cursor string, limit int) (list []Info, next string, err error) {
	if limit <= 0 || limit > maxList {
		limit = maxList
	}
	return s.objects.List(ctx, prefix, cursor, limit)
}

// unheard returns what an event is to those who have not heard of the one before it:
// of an object that nobody knows, an update is the creation.
func unheard(owed, ev realtime.RenEvent) realtime.RenEvent {
	if owed.Type == realtime.ObjectCreated("").Type && ev.Type == realtime.ObjectUpdated("").Type {
		ev.Type = owed.Type
	}
	return ev
}

// unannounced wraps the error of announcing a write that is done.
func unannounced(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnannounced, err)
}
