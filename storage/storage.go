// Package storage keeps files whose writes are events: when an object is uploaded,
// replaced or deleted, from a browser or in Go, every page that shows it is told.
//
//	dir, err := storage.OpenDir("/var/lib/app/objects")
//	…
//	store := storage.New(rt, dir, nil)
//	mux.Handle("/api/storage/", storage.Handler(rt, store, nil))
//
// Host code uses [Store], which announces each write, in the order in which the object
// was written. A Store keeps objects in [Objects]: a local directory ([Dir]), or an
// implementation of the host. [Handler] serves browsers, as far as the host's
// [realtime.Policy] allows.
package storage

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/publish/detach"
	"github.com/maravilla-realtime/realtime/internal/publish/keylock"
	"github.com/maravilla-realtime/realtime/internal/publish/outbox"
	"github.com/maravilla-realtime/realtime/internal/refused"
)

// Errors that functions of this package return, all possibly wrapped.
var (
	// ErrNotFound: there is no object at the path.
	ErrNotFound error = refused.New("storage: not found", http.StatusNotFound, "not_found", "there is no object at this path")
	// ErrBadPath: no object can be at the path. See [ValidPath]. Also, an object and a
	// folder cannot have the same name, and [Dir] follows no links.
	ErrBadPath error = refused.New("storage: bad path", http.StatusBadRequest, "bad_name", "nothing can be stored at this path")
	// ErrUnannounced: the write has happened, but its event may not be in the log.
	// Repeat the Put or Delete to announce it.
	ErrUnannounced = errors.New("storage: stored, but not announced")
	// ErrNoAnswer: [Objects] did not answer in time: see [Options].
	ErrNoAnswer = detach.ErrNoAnswer
)

// Info describes an object.
type Info struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // bytes
	// Type is the media type, as the uploader claims or the path's extension says. It
	// may be wrong: [Handler] lets browsers show only types that are harmless in any
	// case.
	Type string `json:"type"`
	// Version is opaque, at most 128 bytes of letters, digits and "._-". It changes
	// whenever the content does.
	Version string `json:"version"`
}

// Objects keeps the objects of a [Store]. The Store calls it with valid paths only (see
// [ValidPath]), and announces the changes. Methods may be called concurrently, also
// for the same path, may block until ctx ends, and may return errors of the file
// system or network unchanged. If ctx has ended before the call, they must do nothing
// and return its error. A panic in a method is an error of the call.
//
// Package storagetest tests an implementation against these rules.
type Objects interface {
	// Put stores the bytes of body until [io.EOF]. They replace the object at path, if
	// there is one; created says that there was none. Before body has returned io.EOF,
	// readers must get the old object; when Put returns, they must get the new one; and
	// at no time a mixture. If body returns another error, Put must return it, wrapped
	// or not, and store nothing. After the end of its body, a call has the path for
	// itself: the caller makes other calls for it wait. typ is the media type that the
	// sender claims, "" for none. Put must not use body after it has returned.
	// Errors: ErrBadPath if no object can be at the path.
	Put(ctx context.Context, path, typ string, body io.Reader) (info Info, created bool, err error)

	// Delete removes an object. Errors: ErrNotFound.
	Delete(ctx context.Context, path string) error

	// Open returns an object to read. If the object is replaced or deleted meanwhile,
	// the reader must get the old content, or an error. The caller must close it.
	// Errors: ErrNotFound.
	Open(ctx context.Context, path string) (io.ReadSeekCloser, Info, error)

	// List returns at most limit objects whose paths begin with prefix, ordered by the
	// bytes of the path. limit is positive. next is an opaque cursor for the next
	// page, or "" if this is the last one; cursor "" is the first page.
	List(ctx context.Context, prefix, cursor string, limit int) (list []Info, next string, err error)
}

// Store writes to [Objects] and announces the writes. Its methods may be called
// concurrently. Writes that bypass the Store are not announced.
//
// It keeps events that could not be announced in memory: the last one of each path,
// for at most 1,024 paths. Such an event is announced when the write is repeated, and
// at the latest before the next event of its path.
type Store struct {
	events  *outbox.Outbox
	objects bounded
	writing keylock.Locks
}

// Options are all optional: the zero value of each field means its default, a
// negative value means no limit, and a nil *Options means all defaults.
type Options struct {
	// CallTimeout is the time for one call of [Objects] except Put, and for one call of
	// an object that Open returned. Default 30 s.
	CallTimeout time.Duration

	// PutTimeout is the time for the work of Put between two reads of its body, and
	// after the end of the body, when some stores send all of it to another machine.
	// Default 5 min.
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

// Put stores an object and announces it: as created if there was none at the path,
// otherwise as updated. It reads body to its end, however long that is.
// Writers of one path do not wait for each other's bodies; the last to finish
// wins.
//
// ctx counts until the end of body, and its error means that nothing was
// stored. Other errors: [ErrBadPath], [ErrUnannounced] with the Info, those of body,
// and those of [Objects]. After an error of Objects the object may be stored: if one
// is there, or Objects does not answer, it was announced as updated.
func (s *Store) Put(ctx context.Context, path, typ string, body io.Reader) (info Info, created bool, err error) {
	if !ValidPath(path) {
		return Info{}, false, ErrBadPath
	}
	w := begin(ctx, body, s.objects.opts.PutTimeout, func() (func(), error) { return s.writing.Lock(ctx, path) })
	defer w.close()
	err = detach.Call(func() (err error) {
		info, created, err = s.objects.Put(w.ctx, path, typ, w)
		return err
	})
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

// unsurePut returns the error of a Put that has failed after the end of the body. If
// an object is there, or may be, it announces that, so that clients read it again.
func (s *Store) unsurePut(ctx context.Context, path string, cause error) error {
	info, err := s.look(ctx, path)
	if errors.Is(err, ErrNotFound) {
		return cause
	}
	ev := realtime.ObjectUpdated(path).WithVersion(info.Version)
	return errors.Join(cause, unannounced(s.events.Announce(ctx, path, ev)))
}

// Delete removes an object and announces that. If there is none, but an earlier
// deletion could not be announced, or has happened despite an error, it announces
// that one.
//
// ctx counts until Objects has been told to delete, and its error means that nothing
// was deleted. Other errors: [ErrBadPath], [ErrNotFound], [ErrUnannounced], and those
// of [Objects]. After an error of Objects the object may be deleted. If it is, that
// was announced. If Objects does not answer, the object was announced as updated, so
// that clients read it again.
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

// look returns the object at a path after a write that has failed. It does not depend
// on the caller's context.
func (s *Store) look(ctx context.Context, path string) (Info, error) {
	content, info, err := s.objects.Open(context.WithoutCancel(ctx), path)
	if err == nil {
		_ = content.Close() // it is there, whatever this says
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
// 1,000 at most, also if limit is not positive.
func (s *Store) List(ctx context.Context, prefix, cursor string, limit int) (list []Info, next string, err error) {
	if limit <= 0 {
		limit = maxList
	}
	return s.objects.List(ctx, prefix, cursor, min(limit, maxList))
}

// unheard returns the event to emit for ev if the event owed was never emitted: for
// clients that do not know an object, its update is its creation.
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
	return fault.Errorf("%w: %w", ErrUnannounced, err)
}
