package backendtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/maravilla-realtime/realtime/backend"
)

type call struct {
	method string
	run    func(ctx context.Context, b backend.Backend) error
}

var endKey = backend.Key{Kind: "backendtest", Group: "end", Name: "record"}

// calls is every method that can fail, once.
var calls = []call{
	{"Append", func(ctx context.Context, b backend.Backend) error {
		_, err := b.Append(ctx, message("end"))
		return err
	}},
	{"Follow", func(ctx context.Context, b backend.Backend) error {
		return b.Follow(ctx, backend.Position{}, func([]backend.Record) {})
	}},
	{"Read", func(ctx context.Context, b backend.Backend) error {
		_, err := b.Read(ctx, backend.Position{}, 1)
		return err
	}},
	{"Get", func(ctx context.Context, b backend.Backend) error {
		_, err := b.Get(ctx, endKey)
		return err
	}},
	{"List", func(ctx context.Context, b backend.Backend) error {
		for _, err := range b.List(ctx, endKey.Kind, endKey.Group) {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"Put", func(ctx context.Context, b backend.Backend) error {
		e := message("end")
		_, err := b.Put(ctx, backend.Write{Key: endKey, Value: []byte("end"), Append: &e})
		return err
	}},
	{"Delete", func(ctx context.Context, b backend.Backend) error {
		return b.Delete(ctx, endKey, 1<<62, nil)
	}},
}

func endedContextIsHonoured(ctx context.Context, b backend.Backend) error {
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	unknown := false
	for _, c := range calls {
		err := c.run(ended, b)
		if err == nil || errors.Is(err, backend.ErrConflict) {
			return fmt.Errorf("%s took no notice", c.method)
		}
		unknown = unknown || errors.Is(err, backend.ErrMaybeStored)
	}
	got, err := t.settled(ctx)
	if err == nil && len(got) > 0 && !unknown {
		err = fmt.Errorf("calls failed, but stored %s", text(got[0]))
	}
	return err
}

func closeEndsEverything(ctx context.Context, b backend.Backend) error {
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	if _, err := t.settled(ctx); err != nil { // it runs
		return err
	}
	if err := b.Close(ctx); err != nil {
		return err
	}
	select {
	case <-t.ended:
	case <-ctx.Done():
		return errors.New("Follow goes on")
	}
	if !errors.Is(t.err, backend.ErrClosed) {
		return fmt.Errorf("the running Follow returned %w, not ErrClosed", t.err)
	}
	for _, c := range calls {
		if err := c.run(ctx, b); !errors.Is(err, backend.ErrClosed) {
			return fmt.Errorf("%s returned %v, not ErrClosed", c.method, err)
		}
	}
	if err := b.Close(ctx); err != nil && !errors.Is(err, backend.ErrClosed) {
		return fmt.Errorf("closing again: %w", err)
	}
	return nil
}
