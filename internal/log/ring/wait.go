package ring

import (
	"context"

	"github.com/maravilla-realtime/realtime/backend"
)

// Wait waits until the ring has reached pos. The error is that of ctx.
func (r *Ring) Wait(ctx context.Context, pos backend.Position) error {
	if r.Head().Compare(pos) >= 0 {
		return nil
	}
	reader := r.NewReader()
	defer reader.Close()
	reader.Subscribe(nil, Topic{})
	for r.Head().Compare(pos) < 0 {
		if err := ctx.Err(); err != nil { // looked at here, as both cases below may be ready
			return err
		}
		select {
		case <-reader.Wake():
			reader.Skip()
		case <-ctx.Done():
		}
	}
	return nil
}
