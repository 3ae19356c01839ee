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

var endSession = backend.Session{
	SessionKey: backend.SessionKey{Channel: "backendtest-end", User: "ann", ID: "1"},
	Node:       "node",
}

// calls is every method that can fail, once.
var calls = []call{
	{"Append", func(ctx context.Context, b backend.Backend) error {
		_, err := b.Append(ctx, message("end"))
		return err
	}},
	{"Follow", func(ctx context.Context, b backend.Backend) error {
		return b.Follow(ctx, backend.Position{}, func([]*backend.Record) {})
	}},
	{"Read", func(ctx context.Context, b backend.Backend) error {
		_, err := b.Read(ctx, backend.Position{}, 1)
		return err
	}},
	{"Join", func(ctx context.Context, b backend.Backend) error {
		return b.Join(ctx, endSession)
	}},
	{"Leave", func(ctx context.Context, b backend.Backend) error {
		return b.Leave(ctx, endSession.SessionKey, backend.Departure{Why: backend.ReasonLeft})
	}},
	{"Touch", func(ctx context.Context, b backend.Backend) error {
		return b.Touch(ctx, endSession.Channel, endSession.User)
	}},
	{"Members", func(ctx context.Context, b backend.Backend) error {
		_, err := b.Members(ctx, endSession.Channel)
		return err
	}},
	{"PresentChannels", func(ctx context.Context, b backend.Backend) error {
		_, err := b.PresentChannels(ctx)
		return err
	}},
	{"ClaimGroup", func(ctx context.Context, b backend.Backend) error {
		_, err := b.ClaimGroup(ctx, "backendtest-end", "node", lease)
		return err
	}},
	{"CommitGroup", func(ctx context.Context, b backend.Backend) error {
		return b.CommitGroup(ctx, "backendtest-end", "node", backend.Progress{})
	}},
	{"ReleaseGroup", func(ctx context.Context, b backend.Backend) error {
		return b.ReleaseGroup(ctx, "backendtest-end", "node")
	}},
	{"Sweep", func(ctx context.Context, b backend.Backend) error {
		_, err := b.Sweep(ctx, "node", lease)
		return err
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
		if err == nil {
			return fmt.Errorf("%s took no notice", c.method)
		}
		unknown = unknown || errors.Is(err, backend.ErrUnknown)
	}
	got, err := t.settled(ctx)
	if err == nil && len(got) > 0 && !unknown {
		err = fmt.Errorf("calls failed, but stored %s", got[0].Event.Type)
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
