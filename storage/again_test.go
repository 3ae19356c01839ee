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
	"github.com/maravilla-realtime/realtime/internal/memory"
	"github.com/maravilla-realtime/realtime/storage"
)

func TestUnannounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := backendtest.NewFaulty(memory.New(memory.Limits{}))
		rt, err := realtime.New(open(), &realtime.Options{Backend: faulty, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		store := storage.New(rt, newDir(t), nil)
		quiet := &storage.HandlerOptions{Logger: slog.New(slog.DiscardHandler)}
		s := serve(t, open(), nil, func(http.Handler) http.Handler { return storage.Handler(rt, store, quiet) })

		boom := errors.New("boom")
		faulty.FailAppend(3, boom)
		s.refused("unannounced", s.do("POST", "upload?path=a", strings.NewReader("x")), 503, "unavailable")
		info, _, err := store.Put(context.Background(), "a", "", strings.NewReader("xy"))
		if !errors.Is(err, storage.ErrUnannounced) || !errors.Is(err, boom) || info.Size != 2 {
			t.Errorf("got %+v, %v", info, err)
		}
		s.refused("unannounced", s.do("DELETE", "delete?path=a", nil), 503, "unavailable")
		if r := s.do("POST", "upload?path=a", strings.NewReader("x")); r.StatusCode != 201 {
			t.Errorf("sent again: %s", r.Status)
		}
	})
}

// What could not be announced is when it is tried again, in order and as what it
// was, although a deletion finds nothing by then, and an upload an object.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := backendtest.NewFaulty(memory.New(memory.Limits{}))
		rt, err := realtime.New(open(), &realtime.Options{Backend: faulty, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close(context.Background())
		objects := &hooked{Objects: newDir(t), stored: func() {}}
		store := storage.New(rt, objects, nil)
		quiet := &storage.HandlerOptions{Logger: slog.New(slog.DiscardHandler)}
		s := serve(t, open(), nil, func(http.Handler) http.Handler { return storage.Handler(rt, store, quiet) })
		s.rt, s.start = rt, rt.Cursor()
		upload := func(body string) reply { return s.do("POST", "upload?path=a", strings.NewReader(body)) }
		remove := func() reply { return s.do("DELETE", "delete?path=a", nil) }
		said := func(what, want string) {
			t.Helper()
			if got := s.said(); got != want {
				t.Errorf("%s: announced %q, want %q", what, got, want)
			}
		}

		faulty.FailAppend(2, errors.New("boom"))
		s.refused("created, down", upload("x"), 503, "unavailable")
		s.refused("created, still down", upload("x"), 503, "unavailable")
		upload("x")
		said("uploaded again", "created a, updated a")

		faulty.FailAppend(2, errors.New("boom"))
		s.refused("deleted, down", remove(), 503, "unavailable")
		s.refused("deleted, still down", remove(), 503, "unavailable")
		if r := remove(); r.StatusCode != 204 {
			t.Errorf("deleted again: %s", r.Status)
		}
		s.refused("deleted, and announced", remove(), 404, "not_found")
		s.refused("never there", s.do("DELETE", "delete?path=b", nil), 404, "not_found")
		said("deleted again", "deleted a")

		upload("x")
		said("uploaded", "created a")
		faulty.FailAppend(1, errors.New("boom"))
		s.refused("deleted, down", remove(), 503, "unavailable")
		upload("x")
		said("uploaded after a deletion", "deleted a, created a")

		// In the log, but nobody said so.
		faulty.FailAfterStore(9) // as often as it is tried within 5 s
		s.refused("deleted, unknown", remove(), 503, "unavailable")
		if r := remove(); r.StatusCode != 204 {
			t.Errorf("deleted again: %s", r.Status)
		}
		said("deleted, unknown, and again", "deleted a")

		upload("x")
		said("uploaded", "created a")
		objects.deleted = context.DeadlineExceeded
		if err := store.Delete(context.Background(), "a"); !errors.Is(err, objects.deleted) || errors.Is(err, storage.ErrUnannounced) {
			t.Errorf("perhaps deleted: %v", err)
		}
		objects.deleted = nil
		if r := remove(); r.StatusCode != 204 {
			t.Errorf("deleted again: %s", r.Status)
		}
		said("perhaps deleted, and again", "deleted a")
	})
}
