// Package announce emits events of what has been stored already, and which
// therefore should not be lost for a reason that passes. It stands above package
// realtime, beside the stores that use it.
package announce

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/detach"
)

// Patience is the longest that Emit takes.
const Patience = 5 * time.Second

// Emit emits ev, once, with what ctx and opts attribute it to, but beyond the end of
// ctx: who gave up waiting has still written. Where the outcome is unknown it tries
// again. id makes the event idempotent; if it is empty, Emit takes one of its own.
// The error is that of the last try.
func Emit(ctx context.Context, pub realtime.Publisher, ev realtime.RenEvent, id string, opts ...realtime.EventOption) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
	defer cancel()
	if id == "" {
		id = rand.Text()
	}
	opts = append(slices.Clip(opts), realtime.WithID(id))
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := pub.Emit(ctx, ev, opts...)
		if !errors.Is(err, realtime.ErrMaybeStored) {
			return detach.Opaque(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return detach.Opaque(err)
		}
	}
}
