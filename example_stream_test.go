package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"

	"github.com/maravilla-realtime/realtime"
)

// generate stands for a language model: it yields tokens until ctx ends.
func generate(ctx context.Context, question string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, token := range []string{"The ", "answer ", "to ", question, " is ", "42."} {
			if ctx.Err() != nil {
				yield("", ctx.Err())
				return
			}
			if !yield(token, nil) {
				return
			}
		}
	}
}

// An answer grows token by token in every tab that follows it, and ends once. It goes on
// when the request that asked for it is over, until it is complete, has failed, or a client
// stops it.
func ExampleRealtime_Stream() {
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(context.Background())

	answer := func(ctx context.Context, id, question string) error {
		s, err := rt.Stream(ctx, "chat:42", id, realtime.AsUser("assistant"))
		if err != nil {
			return err
		}
		for token, err := range generate(s.Context(), question) {
			if err == nil {
				_, err = s.WriteString(token)
			}
			if errors.Is(err, realtime.ErrStopped) || errors.Is(context.Cause(s.Context()), realtime.ErrStopped) {
				return nil // by a client that may; it has ended
			}
			if err != nil {
				return errors.Join(err, s.Fail(err))
			}
		}
		return s.Close()
	}
	if err := answer(context.Background(), "ada.1", "everything"); err != nil {
		log.Fatal(err)
	}

	// The end is a message of the channel like any other.
	page, err := rt.History(context.Background(), "chat:42", "", 1)
	if err != nil || len(page.Events) == 0 {
		log.Fatal(err)
	}
	last := page.Events[0]
	said, err := realtime.Decode[struct{ Text string }](last.RenEvent)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(last.Key, last.Version+":", said.Text)
	// Output:
	// ada.1 complete: The answer to everything is 42.
}
