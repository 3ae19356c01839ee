package backend_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// failing is a store that fails.
type failing struct {
	backend.Store
	get  error
	puts []error // of the next ones; nil: it happens
	then func()  // after each Put
}

func (f *failing) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	if f.get != nil {
		return backend.Item{}, f.get
	}
	return f.Store.Get(ctx, k)
}

func (f *failing) Put(ctx context.Context, w backend.Write) (rev backend.Revision, err error) {
	if len(f.puts) > 0 {
		err, f.puts = f.puts[0], f.puts[1:]
	}
	if err == nil {
		rev, err = f.Store.Put(ctx, w)
	}
	if f.then != nil {
		f.then()
	}
	return rev, err
}

// A new epoch is greater than what is known, and than the clock says, and all nodes agree
// on the one that was first.
func TestRaiseEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := uint64(time.Now().UnixMicro())
		for _, c := range []struct {
			name                string
			stored, known, want uint64
		}{
			{"the first", 0, 0, clock},
			{"after one of before", 0, clock - 5, clock},
			{"after one that is ahead of the clock", 0, clock + 5, clock + 6},
			{"that another node has raised", clock + 9, clock + 6, clock + 9},
			{"that nobody has raised", clock + 7, clock + 7, clock + 8},
			{"after the record was put back", clock - 9, clock + 7, clock + 8},
			{"after both were", clock - 9, clock - 8, clock},
		} {
			store := memory.New(memory.Limits{})
			if c.stored > 0 {
				if _, err := store.Put(t.Context(), backend.Write{Key: backend.EpochKey, Value: binary.BigEndian.AppendUint64(nil, c.stored)}); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second node knows what the first one knew
				if got, err := backend.RaiseEpoch(t.Context(), store, c.known); got != c.want || err != nil {
					t.Errorf("%s: %d, %v; want %d", c.name, got, err, c.want)
				}
			}
			it, err := store.Get(t.Context(), backend.EpochKey)
			if got, bad := backend.DecodeEpoch(it.Value); got != c.want || bad != nil || err != nil {
				t.Errorf("%s: %d, %v is stored, %v", c.name, got, bad, err)
			}
		}
	})
}

func TestRaiseEpochFails(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		store failing
		value string // that is stored
		want  error  // nil: it is raised
	}{
		{"no answer", failing{get: broken}, "", broken},
		{"not stored", failing{puts: []error{broken}}, "", broken},
		{"another node was faster", failing{puts: []error{backend.ErrConflict}}, "", nil},
		{"perhaps stored", failing{puts: []error{backend.ErrMaybeStored, backend.ErrMaybeStored}}, "", nil},
		{"not a record", failing{}, "1234567", errors.ErrUnsupported}, // any
	} {
		store := memory.New(memory.Limits{})
		if c.value != "" {
			if _, err := store.Put(t.Context(), backend.Write{Key: backend.EpochKey, Value: []byte(c.value)}); err != nil {
				t.Fatal(err)
			}
		}
		c.store.Store = store
		got, err := backend.RaiseEpoch(t.Context(), &c.store, 1)
		if (err == nil) != (c.want == nil) || err == nil && got <= 1 || err != nil && got != 0 ||
			errors.Is(c.want, broken) && !errors.Is(err, broken) {
			t.Errorf("%s: %d, %v", c.name, got, err)
		}
	}
	// An engine that never says whether it has stored is asked until the caller gives up.
	ctx, cancel := context.WithCancel(t.Context())
	store := &failing{Store: memory.New(memory.Limits{}), puts: []error{backend.ErrMaybeStored}, then: cancel}
	if got, err := backend.RaiseEpoch(ctx, store, 1); got != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("after its caller gave up: %d, %v", got, err)
	}
}
