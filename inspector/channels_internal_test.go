package inspector

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// While the backend is asked for the channels, others wait for the same answer, as long as
// they want to, and the next question is asked when the list is old.
func TestListOfChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c channels
		asked := 0
		slowly := func(ctx context.Context) ([]string, error) {
			asked++
			time.Sleep(3 * time.Second)
			return []string{"a"}, ctx.Err()
		}
		type answer struct {
			names []string
			err   error
		}
		answers := make(chan answer, 3)
		list := func(ctx context.Context) {
			names, err := c.list(ctx, slowly)
			answers <- answer{names, err}
		}
		gone, leave := context.WithCancel(t.Context())
		go list(gone) // asks, and goes
		synctest.Wait()
		go list(t.Context())
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := c.list(short, slowly); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		leave()
		for range 2 {
			if a := <-answers; a.err != nil && !errors.Is(a.err, context.Canceled) || a.err == nil && !slices.Equal(a.names, []string{"a"}) {
				t.Errorf("%+v", a)
			}
		}
		if _, err := c.list(t.Context(), slowly); err != nil || asked != 1 {
			t.Errorf("%v, asked %d times", err, asked)
		}
		time.Sleep(channelsFor)
		down := errors.New("down")
		if _, err := c.list(t.Context(), func(context.Context) ([]string, error) { return nil, down }); !errors.Is(err, down) {
			t.Errorf("%v", err)
		}
		if _, err := c.list(t.Context(), slowly); err != nil || asked != 2 {
			t.Errorf("after an error: %v, asked %d times", err, asked)
		}
	})
}
