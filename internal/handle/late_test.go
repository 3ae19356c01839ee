package handle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// lateStore is one whose next changes are made late, or never, without telling.
type lateStore struct {
	backend.Store
	late  time.Duration // of the next change; 0: at once
	never bool
}

func (s *lateStore) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if s.never {
		return 0, backend.ErrMaybeStored
	}
	if late := s.late; late > 0 {
		s.late, s.never = 0, true
		time.AfterFunc(late, func() { _, _ = s.Store.Put(context.WithoutCancel(ctx), w) })
		return 0, backend.ErrMaybeStored
	}
	return s.Store.Put(ctx, w)
}

// A change that was made late, and one that never was, do not let a node believe that
// it holds a group when another one may have it.
func TestHoldAfterALateCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 10 * time.Second
		store := memory.New(memory.Limits{})
		late := &lateStore{Store: store}
		a, b := handle.NewClaim(late, "a", "g", lease), handle.NewClaim(store, "b", "g", lease)
		if _, err := a.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		commit := func() {
			ctx, cancel := context.WithTimeout(t.Context(), lease/3)
			defer cancel()
			if err := a.Commit(ctx, handle.Progress{Floor: backend.Position{Epoch: 1, Seq: 7}}); err == nil {
				t.Error("a commit of unknown outcome is no error")
			}
		}
		late.late = 500 * time.Millisecond
		go func() {
			commit()
			time.Sleep(lease / 2)
			commit()
		}()
		for {
			time.Sleep(time.Second)
			_, err := b.Hold(t.Context())
			if err == nil {
				break
			}
			if !errors.Is(err, handle.ErrHeld) {
				t.Fatal(err)
			}
		}
		if a.Until().After(time.Now()) {
			t.Errorf("a holds the group for %v after b has taken it", time.Until(a.Until()))
		}
	})
}
