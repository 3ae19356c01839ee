package memory

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

func TestOldestIDsAreForgottenFirst(t *testing.T) {
	r := newRecentIDs(3)
	for i := range 5 {
		r.add(fmt.Sprint(i), uint64(i), 0)
	}
	for i := range 5 {
		if seq, ok := r.find(fmt.Sprint(i), 0); ok != (i >= 2) || ok && seq != uint64(i) {
			t.Errorf("id %d was found: %v, at %d", i, ok, seq)
		}
	}
	if len(r.seqs) != 3 {
		t.Errorf("%d ids are remembered", len(r.seqs))
	}
}

// Bytes are counted exactly: as many as the limit are kept, and so many may wait for a
// follower as are half of it, whatever was evicted before.
func TestBytesAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backend.Entry{Data: make([]byte, 1000)}
		b := New(Limits{Bytes: 4 * size(&e)})
		add := func(n int) {
			for range n {
				if _, err := b.Append(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
		}
		add(10)
		page, err := b.Read(t.Context(), backend.Position{}, 10)
		if err != nil || len(page.Records) != 4 {
			t.Fatalf("%d records of as many bytes as 4 are kept, %v", len(page.Records), err)
		}
		ctx, stop := context.WithCancel(t.Context())
		gate := make(chan struct{})
		go b.Follow(ctx, page.Records[1].Pos, func([]backend.Record) { <-gate })
		synctest.Wait() // the last two are in the sink
		for i := range 3 {
			if _, ok, err := b.TryAppend(e); !ok || err != nil {
				t.Errorf("append %d while fewer bytes wait than may: %v, %v", i+1, ok, err)
			}
		}
		if _, ok, _ := b.TryAppend(e); ok {
			t.Error("appended while more than half of the bytes wait for a follower")
		}
		stop()
		close(gate)
		synctest.Wait()
		add(1)
	})
}

// Where nobody reads, memory is bounded all the same.
func TestMemoryWithoutReaders(t *testing.T) {
	b := New(Limits{Records: 8})
	for i := range 100 {
		if _, err := b.Append(t.Context(), backend.Entry{}); err != nil {
			t.Fatal(err)
		}
		key := backend.Key{Kind: "k", Group: fmt.Sprint(i), Name: "n"}
		rev, err := b.Put(t.Context(), backend.Write{Key: key})
		if err == nil {
			err = b.Delete(t.Context(), key, rev, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if b.kept.Len() != 8 || len(b.kinds["k"]) != 0 {
		t.Errorf("%d records of 8 and %d groups without records are in memory", b.kept.Len(), len(b.kinds["k"]))
	}
}

// Room that was made, or a log that was closed, before one waits for it is not waited for.
func TestRoomMadeBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{Records: 2})
		ctx, stop := context.WithCancel(t.Context())
		gate := make(chan struct{})
		go b.Follow(ctx, backend.Position{}, func([]backend.Record) { <-gate })
		synctest.Wait() // it waits for records
		began := time.Now()
		b.waitForRoom(t.Context()) // there is room
		for {
			if _, ok, err := b.TryAppend(backend.Entry{}); err != nil && ok {
				t.Fatal(err)
			} else if !ok {
				break
			}
			synctest.Wait()
		}
		b.Close(t.Context())
		b.waitForRoom(t.Context()) // nobody can append
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		stop()
		close(gate)
	})
}

// TryAppend does what Append does, but waits for nothing.
func TestTryAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Limits{Records: 2})
		ctx, stop := context.WithCancel(t.Context())
		gate := make(chan struct{})
		go b.Follow(ctx, backend.Position{}, func([]backend.Record) { <-gate })
		synctest.Wait()
		for i, want := range []bool{true, true, true, false} { // one in the sink, and two that wait
			pos, ok, err := b.TryAppend(backend.Entry{})
			if ok != want || ok && (pos.Seq != uint64(i+1) || err != nil) || !ok && err == nil {
				t.Errorf("TryAppend returned %v, %v and %v", pos, ok, err)
			}
			synctest.Wait()
		}
		page, err := b.Read(t.Context(), backend.Position{}, 10)
		if err != nil || page.Head.Seq != 3 {
			t.Errorf("the log ends with %v, %v", page.Head, err)
		}
		b.Close(t.Context())
		if pos, ok, err := b.TryAppend(backend.Entry{}); !ok || !errors.Is(err, backend.ErrClosed) {
			t.Errorf("after Close, TryAppend returned %v, %v and %v", pos, ok, err)
		}
		stop()
		close(gate)
	})
}
