package backend

import "context"

// Connect calls connect, which takes no context, and returns what it does. If ctx ends
// first, it returns the error of ctx at once, and closes what connect returns later. It is
// for backends; connect must end by itself.
func Connect[C any](ctx context.Context, connect func() (C, error), closeLate func(C)) (C, error) {
	type connected struct {
		client C
		err    error
	}
	var none C
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan connected)
	go func() {
		client, err := connect()
		select {
		case done <- connected{client, err}:
		case <-ctx.Done():
			if err == nil {
				closeLate(client)
			}
		}
	}()
	select {
	case c := <-done:
		return c.client, c.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
