// Package enginetest is what tests of backends share that break the engine: they append
// until it is there again, and wait for what Follow passes on.
package enginetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// patience is how long is waited for what ends the wait when it happens.
const patience = time.Minute

// Append appends a text, with itself as its id, until the engine takes it.
func Append(t testing.TB, b backend.Backend, text string) backend.Position {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		pos, err := b.Append(ctx, backend.Entry{ID: text, Data: []byte(text)})
		if err == nil {
			return pos
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Follower is a call of Follow, which ends with the test.
type Follower struct {
	records chan backend.Record
	ended   chan error
}

// Follow begins to follow the log.
func Follow(t testing.TB, b backend.Backend, after backend.Position) *Follower {
	f := &Follower{records: make(chan backend.Record, 1000), ended: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		f.ended <- b.Follow(ctx, after, func(recs []backend.Record) {
			for _, r := range recs {
				select {
				case f.records <- r:
				case <-ctx.Done():
				}
			}
		})
	}()
	return f
}

// Next waits for the next record.
func (f *Follower) Next(t testing.TB) backend.Record {
	t.Helper()
	select {
	case r := <-f.records:
		return r
	case err := <-f.ended:
		t.Fatalf("Follow ended with %v", err)
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return backend.Record{}
}

// Lost waits until Follow ends because records are lost.
func (f *Follower) Lost(t testing.TB) *backend.LostError {
	t.Helper()
	select {
	case err := <-f.ended:
		var lost *backend.LostError
		if !errors.As(err, &lost) {
			t.Fatalf("Follow ended with %v, want a LostError", err)
		}
		return lost
	case <-time.After(patience):
		t.Fatal("the loss was not told")
	}
	return nil
}
