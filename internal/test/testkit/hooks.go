package testkit

import "context"

// Hooks happen around the calls of something that a test wraps: an engine, a store of
// objects. The zero Hooks do nothing.
type Hooks struct {
	Before func(ctx context.Context, method string) error // an error: it is not done
	After  func(ctx context.Context, method string) error // an error: it is done, and says that it has failed
}

// Around calls do between the hooks.
func (h *Hooks) Around(ctx context.Context, method string, do func() error) error {
	if h.Before != nil {
		if err := h.Before(ctx, method); err != nil {
			return err
		}
	}
	err := do()
	if h.After != nil {
		if failed := h.After(ctx, method); failed != nil {
			return failed
		}
	}
	return err
}

// Panics returns a hook that panics with value in a method.
func Panics(method string, value any) func(context.Context, string) error {
	return func(_ context.Context, in string) error {
		if in == method {
			panic(value)
		}
		return nil
	}
}
