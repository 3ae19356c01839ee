package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/publish/detach"
	"github.com/maravilla-realtime/realtime/internal/publish/keylock"
	"github.com/maravilla-realtime/realtime/internal/publish/outbox"
	"github.com/maravilla-realtime/realtime/internal/refused"
)

// Errors that a [Store] returns, all possibly wrapped, beside those of its engine
// and of the context.
var (
	// ErrNotFound: the key has no entry, or its entry has expired.
	ErrNotFound error = refused.New("kv: not found", http.StatusNotFound, "not_found", "there is no such key")
	// ErrUnannounced: the write has happened, but its event may not be in the log.
	// Repeat the Put or Delete to announce it. The error wraps the cause.
	ErrUnannounced = errors.New("kv: stored, but not announced")
	// ErrBadKey: a namespace or key is empty; or one of them, a prefix or a cursor is
	// longer than 255 bytes, not UTF-8, or has control characters.
	ErrBadKey error = refused.New("kv: bad namespace or key", http.StatusBadRequest, "bad_request", "this is no key")
	// ErrBadOption: a TTL is not positive, a limit is negative or above 1,000, or an
	// option is nil.
	ErrBadOption = errors.New("kv: bad option")
	// ErrTooLarge: a value exceeds the limit.
	ErrTooLarge error = refused.New("kv: value too large", http.StatusRequestEntityTooLarge, "too_large", "the value is too large")
	// ErrNoAnswer: the engine did not answer within 10 s.
	ErrNoAnswer = detach.ErrNoAnswer
	// ErrClosed: the Store was closed.
	ErrClosed = errors.New("kv: closed")
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Options are all optional: the zero value of each field means its default, and
// a nil *Options means all defaults.
type Options struct {
	// Engine keeps the entries. Its owner closes it, after the Store. Default: that
	// of [NewMemory].
	Engine Engine

	// MaxValue is the size of the largest value, in bytes. Default 1 MiB. Negative: any
	// size.
	MaxValue int

	// Logger gets the errors of expiry, which have no caller.
	// Default: [slog.Default].
	Logger *slog.Logger
}

// Store is a key-value store that announces its writes. All its methods may be
// called concurrently.
//
// It keeps events that could not be announced in memory: the last one of each key,
// for at most 1,024 keys. Such an event is announced when the write is repeated, and
// at the latest before the next event of its key.
type Store struct {
	pub      realtime.Publisher
	events   *outbox.Outbox
	engine   bounded
	maxValue int
	log      *slog.Logger
	locks    keylock.Locks
	versions versions
	wake     chan struct{} // an entry expires sooner than the janitor expects
	stop     context.CancelFunc

	mu      sync.Mutex
	closed  bool
	visit   time.Time      // when the janitor looks next; zero: it is about to
	running sync.WaitGroup // calls, and the janitor
}

// New returns a Store that announces its writes through pub, a
// [*realtime.Realtime]. It starts a goroutine for expiry, and first announces entries
// that have expired while no process was running. The caller must call Close; if
// handlers write to the Store, after [realtime.Realtime.Close], which lets them
// finish.
func New(pub realtime.Publisher, opts *Options) *Store {
	var engine Engine
	s := &Store{pub: pub, events: outbox.New(pub, nil), maxValue: 1 << 20, log: slog.Default(), wake: make(chan struct{}, 1)}
	if opts != nil {
		engine = opts.Engine
		if opts.MaxValue != 0 {
			s.maxValue = opts.MaxValue
		}
		if opts.Logger != nil {
			s.log = opts.Logger
		}
	}
	if engine == nil {
		engine = NewMemory()
	}
	s.engine = bounded{engine}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.running.Go(func() { s.janitor(ctx) })
	return s
}

// Close makes further calls fail with [ErrClosed], and waits for running calls and
// for the goroutine of expiry. It does not close the engine. Closing again only waits.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// enter begins a call that Close waits for, and which ends with running.Done.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.running.Add(1)
	return nil
}

// PutOption is an option of [Store.Put].
type PutOption func(*put)

type put struct {
	ttl    time.Duration
	hasTTL bool
}

// TTL makes the entry expire after d, which is rounded up to milliseconds.
// Without it an entry does not expire.
func TTL(d time.Duration) PutOption { return func(p *put) { p.ttl, p.hasTTL = d, true } }

// Put stores value, announces it as "kv.put", and returns its version. It replaces the
// value and the expiry of the key. The caller may reuse the slice.
//
// ctx counts until the engine has been told to store, and its error means that
// nothing was stored. Other errors: [ErrBadKey], [ErrBadOption], [ErrTooLarge],
// [ErrUnannounced] (with a version), [ErrClosed]. After an error of the engine the
// value may be stored. If it is, or the engine does not answer, it was announced,
// unless the error matches [ErrUnannounced] as well. To put it again is safe.
func (s *Store) Put(ctx context.Context, namespace, key string, value []byte, opts ...PutOption) (version string, err error) {
	var p put
	for _, opt := range opts {
		if opt == nil {
			return "", fmt.Errorf("%w: a PutOption is nil", ErrBadOption)
		}
		opt(&p)
	}
	if p.hasTTL && p.ttl <= 0 {
		return "", fmt.Errorf("%w: a TTL of %v", ErrBadOption, p.ttl)
	}
	if s.maxValue >= 0 && len(value) > s.maxValue {
		return "", fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, len(value), s.maxValue)
	}
	done, err := s.begin(ctx, namespace, key)
	if err != nil {
		return "", err
	}
	defer done()
	old, _, err := s.current(ctx, namespace, key)
	if err != nil {
		return "", err
	}
	e := Entry{Namespace: namespace, Key: key, Value: value, Version: s.versions.next(old.Version)}
	if p.hasTTL {
		e.Expires = expiry(time.Now(), p.ttl)
	}
	if err := s.engine.Put(ctx, e); err != nil {
		return "", s.unsurePut(ctx, e, err)
	}
	s.expect(e.Expires)
	return e.Version, s.announce(ctx, realtime.KVPut(namespace, key).WithVersion(e.Version))
}

// expiry returns the first whole millisecond that is not before now+ttl.
func expiry(now time.Time, ttl time.Duration) time.Time {
	return time.UnixMilli(now.Add(ttl).Add(time.Millisecond - 1).UnixMilli())
}

// Get returns the entry of the key. Errors: [ErrNotFound], [ErrBadKey], [ErrClosed],
// and those of the engine.
func (s *Store) Get(ctx context.Context, namespace, key string) (Entry, error) {
	if err := checkKey(namespace, key); err != nil {
		return Entry{}, err
	}
	if err := s.enter(); err != nil {
		return Entry{}, err
	}
	defer s.running.Done()
	e, err := s.engine.Get(ctx, namespace, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return Entry{}, ErrNotFound
	case err != nil:
		return Entry{}, fault.Errorf("kv: get: %w", err)
	case e.expired(time.Now()):
		return Entry{}, ErrNotFound
	}
	return e, nil
}

// Delete removes the entry of the key and announces that as "kv.delete". If there is
// no entry, it does nothing, unless an earlier deletion could not be announced, or has
// happened despite an error: then it announces that one.
//
// ctx counts until the engine has been told to delete, and its error means that
// nothing was deleted. Other errors: [ErrBadKey], [ErrUnannounced], [ErrClosed].
// After an error of the engine the entry may be deleted: delete it again. If it is
// deleted, that was announced. If the engine does not answer, a "kv.put" was
// announced, so that clients read the key.
func (s *Store) Delete(ctx context.Context, namespace, key string) error {
	done, err := s.begin(ctx, namespace, key)
	if err != nil {
		return err
	}
	defer done()
	old, state, err := s.current(ctx, namespace, key)
	if err != nil {
		return err
	}
	ev := realtime.KVDelete(namespace, key)
	if state == absent {
		_, err := s.events.Retry(join(namespace, key), ev.Type)
		return unannounced(err)
	}
	err = s.engine.Delete(ctx, namespace, key)
	switch {
	case state == expired && err != nil:
		return fault.Errorf("kv: delete: %w", err)
	case state == expired:
		return nil
	case err != nil:
		return s.unsureDelete(ctx, old, err)
	}
	return s.announce(ctx, ev.WithVersion(s.versions.next(old.Version)))
}

// begin begins a write: it returns with the key locked, until done is called.
func (s *Store) begin(ctx context.Context, namespace, key string) (done func(), err error) {
	if err := checkKey(namespace, key); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx, namespace, key)
	if err != nil {
		s.running.Done()
		return nil, err
	}
	return func() {
		unlock()
		s.running.Done()
	}, nil
}

func (s *Store) lock(ctx context.Context, namespace, key string) (unlock func(), err error) {
	return s.locks.Lock(ctx, join(namespace, key))
}

// join returns a unique name for the two, which have no control characters.
func join(namespace, key string) string { return namespace + "\x00" + key }

// state is the state of a key.
type state int

const (
	absent  state = iota
	expired       // its expiry was announced, but the entry is still stored
	alive
)

// current returns the entry of a key before a write. The key must be locked. If the
// entry has expired, current announces that first.
func (s *Store) current(ctx context.Context, namespace, key string) (Entry, state, error) {
	e, err := s.engine.Get(ctx, namespace, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return Entry{}, absent, nil
	case err != nil:
		return Entry{}, absent, fault.Errorf("kv: get: %w", err)
	case !e.expired(time.Now()):
		return e, alive, nil
	}
	if err := s.announceExpiry(ctx, e); err != nil {
		return Entry{}, absent, fault.Errorf("kv: announce that the old value has expired: %w", err)
	}
	return e, expired, nil
}

// announce emits the event of a write that has happened.
func (s *Store) announce(ctx context.Context, ev realtime.RenEvent) error {
	return unannounced(s.events.Announce(ctx, join(ev.Namespace, ev.Key), ev))
}

// unannounced wraps the error of announcing a write that has happened.
func unannounced(err error) error {
	if err == nil {
		return nil
	}
	return fault.Errorf("%w: %w", ErrUnannounced, err)
}

// ListOptions select what [Store.List] returns.
type ListOptions struct {
	Prefix string // of the keys; "" is all
	Limit  int    // of a page; default 100, at most 1,000
	Cursor string // of the page before; "" is the first page
}

// Page is a part of a list.
type Page struct {
	Entries []Entry
	Cursor  string // for the next page; "" if this is the last one
}

// List returns the entries of a namespace in the order of their keys, byte by
// byte. A page holds values as well: ask for fewer entries if they are large. What
// stays while pages are read is listed once; entries that come or go meanwhile may be
// listed. Errors: [ErrBadKey], [ErrBadOption], [ErrClosed], and those of the engine.
func (s *Store) List(ctx context.Context, namespace string, opts ListOptions) (Page, error) {
	limit := opts.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	if limit < 0 || limit > maxLimit {
		return Page{}, fmt.Errorf("%w: a limit of %d", ErrBadOption, limit)
	}
	if err := errors.Join(checkKey(namespace, "any"), checkText(opts.Prefix, opts.Cursor)); err != nil {
		return Page{}, err
	}
	if err := s.enter(); err != nil {
		return Page{}, err
	}
	defer s.running.Done()

	var live []Entry // one more than the page, to know whether it is the last one
	for after := opts.Cursor; ; {
		found, err := s.engine.List(ctx, namespace, opts.Prefix, after, limit+1)
		if err != nil {
			return Page{}, fault.Errorf("kv: list: %w", err)
		}
		now := time.Now()
		for _, e := range found {
			if !e.expired(now) {
				live = append(live, e)
			}
		}
		if len(live) > limit {
			return Page{live[:limit:limit], live[limit-1].Key}, nil
		}
		if len(found) <= limit {
			return Page{Entries: live}, nil
		}
		after = found[len(found)-1].Key
	}
}

// checkKey returns an error for names that an event could not carry.
func checkKey(namespace, key string) error {
	if namespace == "" || key == "" {
		return fmt.Errorf("%w: empty", ErrBadKey)
	}
	return checkText(namespace, key)
}

func checkText(texts ...string) error {
	for _, text := range texts {
		if err := realtime.KVPut(text, "").Validate(); err != nil {
			return fault.Errorf("%w: %w", ErrBadKey, err)
		}
	}
	return nil
}
