package storage_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/storage"
)

func TestUnannounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUnreliable(t)
		boom := errors.New("boom")
		s.faulty.FailAppend(3, boom)
		s.refused("unannounced", s.do("POST", "upload?path=a", strings.NewReader("x")), 503, "unavailable")
		info, _, err := s.store.Put(context.Background(), "a", "", strings.NewReader("xy"))
		if !errors.Is(err, storage.ErrUnannounced) || !errors.Is(err, boom) || info.Size != 2 {
			t.Errorf("got %+v, %v", info, err)
		}
		s.refused("unannounced", s.do("DELETE", "delete?path=a", nil), 503, "unavailable")
		if r := s.do("POST", "upload?path=a", strings.NewReader("x")); r.StatusCode != 201 {
			t.Errorf("sent again: %s", r.Status)
		}
	})
}

// unreliable is a server whose log and whose objects fail as they are told to.
type unreliable struct {
	*site
	faulty  *backendtest.Faulty
	objects *hooked
	store   *storage.Store
}

func newUnreliable(t *testing.T) *unreliable {
	faulty := backendtest.NewFaulty(memory.New(memory.Limits{}))
	rt, err := realtime.New(open(), &realtime.Options{Backend: faulty, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close(context.Background()) })
	objects := &hooked{Objects: newDir(t), stored: func() {}}
	store := storage.New(rt, objects, nil)
	quiet := &storage.HandlerOptions{Logger: slog.New(slog.DiscardHandler)}
	s := serve(t, open(), nil, func(http.Handler) http.Handler { return storage.Handler(rt, store, quiet) })
	s.rt, s.start = rt, rt.Cursor()
	return &unreliable{s, faulty, objects, store}
}

func (s *unreliable) upload(body string) reply {
	return s.do("POST", "upload?path=a", strings.NewReader(body))
}

func (s *unreliable) remove() reply { return s.do("DELETE", "delete?path=a", nil) }

func (s *unreliable) announced(what, want string) {
	s.t.Helper()
	if got := s.said(); got != want {
		s.t.Errorf("%s: announced %q, want %q", what, got, want)
	}
}

// What could not be announced is when it is tried again, in order and as what it
// was, although a deletion finds nothing by then, and an upload an object.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newUnreliable(t)

		s.faulty.FailAppend(2, errors.New("boom"))
		s.refused("created, down", s.upload("x"), 503, "unavailable")
		s.refused("created, still down", s.upload("x"), 503, "unavailable")
		s.upload("x")
		s.announced("uploaded again", "created a, updated a")

		s.faulty.FailAppend(2, errors.New("boom"))
		s.refused("deleted, down", s.remove(), 503, "unavailable")
		s.refused("deleted, still down", s.remove(), 503, "unavailable")
		if r := s.remove(); r.StatusCode != 204 {
			t.Errorf("deleted again: %s", r.Status)
		}
		s.refused("deleted, and announced", s.remove(), 404, "not_found")
		s.refused("never there", s.do("DELETE", "delete?path=b", nil), 404, "not_found")
		s.announced("deleted again", "deleted a")

		s.upload("x")
		s.announced("uploaded", "created a")
		s.faulty.FailAppend(1, errors.New("boom"))
		s.refused("deleted, down", s.remove(), 503, "unavailable")
		s.upload("x")
		s.announced("uploaded after a deletion", "deleted a, created a")

		// In the log, but nobody said so.
		s.faulty.FailAfterStore(9) // as often as it is tried within 5 s
		s.refused("deleted, unknown", s.remove(), 503, "unavailable")
		if r := s.remove(); r.StatusCode != 204 {
			t.Errorf("deleted again: %s", r.Status)
		}
		s.announced("deleted, unknown, and again", "deleted a")

		s.upload("x")
		s.announced("uploaded", "created a")
		s.objects.deleted = errMood
		if err := s.store.Delete(context.Background(), "a"); !errors.Is(err, s.objects.deleted) || errors.Is(err, storage.ErrUnannounced) {
			t.Errorf("perhaps deleted: %v", err)
		}
		s.objects.deleted = nil
		if r := s.remove(); r.StatusCode != 204 {
			t.Errorf("deleted again: %s", r.Status)
		}
		s.announced("perhaps deleted, and again", "deleted a")
	})
}
