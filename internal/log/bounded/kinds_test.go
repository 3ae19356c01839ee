package bounded_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// deaf is a backend whose store does not return, whatever its context, when it is called
// about records of the kind "stuck".
type deaf struct {
	backend.Backend
	free chan struct{}
}

func (d *deaf) wait(kind string) {
	if kind == "stuck" {
		<-d.free
	}
}

func (d *deaf) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	d.wait(k.Kind)
	return d.Backend.Get(ctx, k)
}

func (d *deaf) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	d.wait(kind)
	return d.Backend.List(ctx, kind, group)
}

func (d *deaf) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	d.wait(w.Kind)
	return d.Backend.Put(ctx, w)
}

func (d *deaf) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	d.wait(k.Kind)
	return d.Backend.Delete(ctx, k, rev, e)
}

// Calls about one kind of record that do not return, in whatever number, do not keep others
// from being made: a node whose members cannot be written must renew its lease.
func TestAKindThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{memory.New(memory.Limits{}), make(chan struct{})}
		defer d.Backend.Close(context.Background())
		b := bounded.New(d, false, slog.New(slog.DiscardHandler))
		calls := map[string]func(kind string) error{
			"Get": func(kind string) error {
				_, err := b.Get(t.Context(), backend.Key{Kind: kind, Group: "g", Name: "n"})
				return err
			},
			"Put": func(kind string) error {
				_, err := b.Put(t.Context(), backend.Write{Key: backend.Key{Kind: kind, Group: "g", Name: "n"}})
				return err
			},
			"Delete": func(kind string) error {
				return b.Delete(t.Context(), backend.Key{Kind: kind, Group: "g", Name: "n"}, 1, nil)
			},
			"List": func(kind string) error {
				for _, err := range b.List(t.Context(), kind, "g") {
					return err
				}
				return nil
			},
		}
		var hanging sync.WaitGroup
		for range 300 {
			for _, call := range calls {
				hanging.Go(func() { _ = call("stuck") })
			}
		}
		hanging.Wait()
		if n := b.Stats().Abandoned; n < 4*256 {
			t.Fatalf("%d calls are abandoned", n)
		}
		for name, call := range calls {
			if err := call("free"); err != nil && !errors.Is(err, backend.ErrConflict) {
				t.Errorf("%s: %v", name, err)
			}
		}
		close(d.free)
		synctest.Wait()
		if n := b.Stats().Abandoned; n != 0 {
			t.Errorf("%d calls are still abandoned", n)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
