package kv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/kv"
)

// deletedOnly deletes a key without an announcement.
func deletedOnly(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	put(t, s, "a", "1")
	r.take()
	r.failWith(errDown)
	if err := s.Delete(t.Context(), "demo", "a"); !errors.Is(err, kv.ErrUnannounced) {
		t.Fatalf("delete: %v", err)
	}
}

// deleteAgain deletes a key once more, which must succeed.
func deleteAgain(t *testing.T, s *kv.Store) {
	t.Helper()
	if err := s.Delete(t.Context(), "demo", "a"); err != nil {
		t.Errorf("delete again: %v", err)
	}
}

// TestDeleteAgain: a deletion that was not announced is announced when the caller tries
// again, although the key is gone by then.
func TestDeleteAgain(t *testing.T) {
	bubble(t, "the retry announces, once", againAnnouncesOnce)
	bubble(t, "the next put announces it before itself", againWithTheNextPut)
	bubble(t, "an end comes after the put that was not announced", againAfterAPut)
	bubble(t, "a deletion that the engine did perhaps", againAfterAnUnknownOutcome)
}

func againAnnouncesOnce(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	deletedOnly(t, s, r, engine)
	if err := s.Delete(t.Context(), "demo", "a"); !errors.Is(err, kv.ErrUnannounced) || !errors.Is(err, errDown) {
		t.Errorf("delete deleteAgain, still down: %v", err)
	}
	r.failWith(nil)
	deleteAgain(t, s)
	r.expect(t, "delete:a")
	deleteAgain(t, s)
	if err := s.Delete(t.Context(), "demo", "b"); err != nil {
		t.Error(err)
	}
	r.expect(t, "")
}

func againWithTheNextPut(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	deletedOnly(t, s, r, engine)
	r.failWith(nil)
	put(t, s, "a", "2")
	events := r.take()
	ascending(t, events)
	if len(events) != 2 || events[0].Type != "kv.delete" || events[1].Type != "kv.put" {
		t.Errorf("the events are %+v", events)
	}
	deleteAgain(t, s)
	r.expect(t, "delete:a")
}

func againAfterAnUnknownOutcome(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	put(t, s, "a", "1")
	r.take()
	engine.failWith("Delete", errMood)
	if err := s.Delete(t.Context(), "demo", "a"); !errors.Is(err, errMood) || errors.Is(err, kv.ErrUnannounced) {
		t.Fatal(err)
	}
	engine.failWith("Delete", nil)
	put(t, s, "a", "2") // it had not
	r.expect(t, "put:a")
	engine.failWith("Delete", errMood)
	if err := s.Delete(t.Context(), "demo", "a"); !errors.Is(err, errMood) {
		t.Fatal(err)
	}
	engine.failWith("Delete", nil)
	if err := engine.Delete(t.Context(), "demo", "a"); err != nil { // it had
		t.Fatal(err)
	}
	deleteAgain(t, s)
	r.expect(t, "delete:a")
}

func againAfterAPut(t *testing.T, s *kv.Store, r *recorder, engine *sick) {
	r.failWith(errDown)
	if _, err := s.Put(t.Context(), "demo", "a", nil, kv.TTL(time.Second)); !errors.Is(err, kv.ErrUnannounced) {
		t.Fatal(err)
	}
	pass(time.Second)
	r.failWith(nil)
	pass(time.Minute)
	r.expect(t, "put:a expired:a")
}
