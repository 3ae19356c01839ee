package kv_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

var errDown = errors.New("the log is down")

// recorder is a Publisher that keeps what is emitted, once per order of events,
// or fails.
type recorder struct {
	realtime.Publisher

	mu     sync.Mutex
	events []realtime.RenEvent
	fail   error         // of every Emit
	gate   chan struct{} // Emit waits for it to close, if there is one
}

func (r *recorder) Emit(ctx context.Context, ev realtime.RenEvent, _ ...realtime.EventOption) error {
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		<-gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(ctx.Err(), r.fail, ev.Validate()); err != nil {
		return err
	}
	r.events = append(r.events, ev)
	return nil
}

func (r *recorder) failWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *recorder) hold() (release func()) {
	gate := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = gate
	return func() { close(gate) }
}

// take returns what was emitted since the last call.
func (r *recorder) take() []realtime.RenEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// story is what was emitted since the last call, as "put:key delete:key".
func (r *recorder) story() string {
	var list []string
	for _, ev := range r.take() {
		list = append(list, strings.TrimPrefix(ev.Type, "kv.")+":"+ev.Key)
	}
	return strings.Join(list, " ")
}

// expect fails unless that is the story since the last call.
func (r *recorder) expect(t *testing.T, want string) {
	t.Helper()
	if got := r.story(); got != want {
		t.Errorf("the events are %q, want %q", got, want)
	}
}

// open returns a Store that announces to the recorder, and closes it in the end.
func open(t testing.TB, engine kv.Engine) (*kv.Store, *recorder) {
	t.Helper()
	r := &recorder{}
	s := kv.New(r, &kv.Options{Engine: engine, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(s.Close)
	return s, r
}

func put(t testing.TB, s *kv.Store, key, value string, opts ...kv.PutOption) (version string) {
	t.Helper()
	version, err := s.Put(context.Background(), "demo", key, []byte(value), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// holds fails unless the key holds that value, "" for nothing.
func holds(t testing.TB, s *kv.Store, key, want string) {
	t.Helper()
	e, err := s.Get(context.Background(), "demo", key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		t.Fatal(err)
	}
	if got := string(e.Value); got != want || (err == nil) != (want != "") {
		t.Errorf("%s holds %q (%v), want %q", key, got, err, want)
	}
}

// sick is an engine that fails on command.
type sick struct {
	kv.Engine

	mu    sync.Mutex
	fail  map[string]error // by method
	after func()           // before Expiring returns
}

func (s *sick) afterExpiring(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

func (s *sick) failWith(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.fail = map[string]error{}
	}
	s.fail[method] = err
}

func (s *sick) err(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail[method]
}

func (s *sick) Get(ctx context.Context, namespace, key string) (kv.Entry, error) {
	if err := s.err("Get"); err != nil {
		return kv.Entry{}, err
	}
	return s.Engine.Get(ctx, namespace, key)
}

func (s *sick) Put(ctx context.Context, e kv.Entry) error {
	if err := s.err("Put"); err != nil {
		return err
	}
	return s.Engine.Put(ctx, e)
}

func (s *sick) Delete(ctx context.Context, namespace, key string) error {
	if err := s.err("Delete"); err != nil {
		return err
	}
	return s.Engine.Delete(ctx, namespace, key)
}

func (s *sick) List(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error) {
	if err := s.err("List"); err != nil {
		return nil, err
	}
	return s.Engine.List(ctx, namespace, prefix, after, limit)
}

func (s *sick) Expiring(ctx context.Context, limit int) ([]kv.Entry, error) {
	if err := s.err("Expiring"); err != nil {
		return nil, err
	}
	list, err := s.Engine.Expiring(ctx, limit)
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if after != nil {
		after()
	}
	return list, err
}

// ascending fails unless the versions of each key grow from event to event.
func ascending(t *testing.T, events []realtime.RenEvent) {
	t.Helper()
	last := map[string]string{}
	for _, ev := range events {
		if name := fmt.Sprintf("%s %s", ev.Namespace, ev.Key); ev.Version <= last[name] {
			t.Fatalf("%s of %s has version %q after %q", ev.Type, name, ev.Version, last[name])
		} else {
			last[name] = ev.Version
		}
	}
}
