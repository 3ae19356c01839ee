package realtime_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// stubborn does what it was asked for, however long its caller has gone by then.
type stubborn struct{ *hanging }

func (b stubborn) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	return b.hanging.Append(context.WithoutCancel(ctx), e)
}

// A write that ends after its caller was told that it may have happened is delivered once,
// and so is the one that the caller sends again with the same id.
func TestLateEndOfAHangingWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &hanging{Backend: lasting{realtime.NewMemory()}, deaf: true}
		h := start(t, open(), &realtime.Options{Backend: stubborn{b}})
		s := h.socket(get("/realtime", "Authorization", asAda))
		s.ok(subscribe("room"))
		b.hang("Append")
		for range 2 {
			err := within(t, "Publish", func() error { return h.Publish(t.Context(), "room", "late", realtime.WithID("once")) })
			if !errors.Is(err, realtime.ErrMaybeStored) {
				t.Errorf("%v", err)
			}
		}
		time.Sleep(10 * time.Second)
		b.release()
		synctest.Wait()
		h.publish("room", "next")
		if got := s.data(2); got != `"late" "next"` {
			t.Errorf("%s", got)
		}
		if n := h.Stats().Backend.Abandoned; n != 0 {
			t.Errorf("%d calls are abandoned", n)
		}
	})
}
