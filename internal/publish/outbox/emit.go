// Package outbox emits the events of writes that have been stored already. Such
// an event should not be lost for a temporary reason, so it is retried and kept.
// The package is above package realtime, and is used by kv, db and storage.
package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/publish/detach"
)

// Patience is the longest that Emit takes.
const Patience = 5 * time.Second

// Emit emits ev once, attributed as ctx and opts say. It continues after the end of
// ctx, since the write has happened even if its caller has given up. If the outcome
// of a try is unknown, it tries again. id makes the event idempotent; if it is
// empty, Emit makes one. The error is that of the last try.
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
