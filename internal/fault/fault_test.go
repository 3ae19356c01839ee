package fault

import (
	"errors"
	"fmt"
	"testing"
)

func TestErrorf(t *testing.T) {
	closed := errors.New("realtime: closed")
	temporary := errors.New("realtime: temporarily unavailable")
	for _, c := range []struct {
		err  error
		want string
	}{
		{Errorf("realtime: start: %w", closed), "realtime: start: closed"},
		{Errorf("%w: %w", temporary, closed), "realtime: temporarily unavailable: closed"},
		{Errorf("realtime: a: %w", Errorf("realtime: b: %w", closed)), "realtime: a: b: closed"},
		{Errorf("realtime: a: %w", fmt.Errorf("kv: %w", closed)), "realtime: a: kv: closed"},
		{Errorf("kv: a: %w", closed), "kv: a: realtime: closed"},
		{Errorf("the backend: %w", errors.Join(closed, temporary)), "the backend: realtime: closed\nrealtime: temporarily unavailable"},
		{Errorf("realtime: %q: %w", "realtime: x", closed), `realtime: "realtime: x": closed`},
		{Errorf("%w", closed), "realtime: closed"},
		{Errorf("realtime: not now (%w): %w", temporary, closed), "realtime: not now (temporarily unavailable): closed"},
		{Errorf("realtime: %w: %w: %w", closed, temporary, closed), "realtime: closed: temporarily unavailable: closed"},
	} {
		if c.err.Error() != c.want {
			t.Errorf("%q, want %q", c.err, c.want)
		}
		if !errors.Is(c.err, closed) {
			t.Errorf("%q is not what it wraps", c.err)
		}
	}
}
