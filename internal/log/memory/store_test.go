package memory_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// A record is not deleted whatever its revision, and one may stop reading a list.
func TestStore(t *testing.T) {
	b := memory.New(memory.Limits{})
	if !b.SingleProcess() {
		t.Error("it says that it serves several processes")
	}
	var revs []backend.Revision
	for _, name := range []string{"a", "b"} {
		rev, err := b.Put(t.Context(), backend.Write{Key: backend.Key{Kind: "k", Group: "g", Name: name}, Value: []byte("1")})
		if err != nil {
			t.Fatal(err)
		}
		revs = append(revs, rev)
	}
	a := backend.Key{Kind: "k", Group: "g", Name: "a"}
	if err := b.Delete(t.Context(), a, 0, nil); err == nil || errors.Is(err, backend.ErrConflict) {
		t.Errorf("Delete without a revision: %v", err)
	}
	if it, err := b.Get(t.Context(), a); err != nil || string(it.Value) != "1" || it.Revision != revs[0] {
		t.Errorf("the record is %+v, %v", it, err)
	}
	read := 0
	for _, err := range b.List(t.Context(), "k", "g") {
		if err != nil {
			t.Fatal(err)
		}
		read++
		break
	}
	if read != 1 {
		t.Errorf("read %d", read)
	}
}

// Without limits of one's own, events are kept for five minutes.
func TestUsualAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Limits{})
		first := fill(t, b, 1)
		time.Sleep(5 * time.Minute)
		fill(t, b, 1)
		page, err := b.Read(t.Context(), backend.Position{}, 10)
		if err != nil || page.First != first {
			t.Errorf("after five minutes the first is %v, %v", page.First, err)
		}
		time.Sleep(time.Nanosecond)
		last := fill(t, b, 1)
		if page, err = b.Read(t.Context(), backend.Position{}, 10); err != nil || page.First.Seq != last.Seq-1 {
			t.Errorf("then it is %v, %v", page.First, err)
		}
	})
}

// A change with an entry waits for room for it, and has not happened while it waits.
func TestStepWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, gate := slow(t)
		fill(t, b, 1)
		k := backend.Key{Kind: "k", Group: "g", Name: "n"}
		e := entry("step")
		var rev backend.Revision
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			rev, err = b.Put(t.Context(), backend.Write{Key: k, Value: []byte("1"), Append: &e})
		}()
		synctest.Wait()
		if it, err := b.Get(t.Context(), k); err != nil || it.Revision != 0 {
			t.Errorf("the record is %+v, %v before its entry is in the log", it, err)
		}
		close(gate)
		<-done
		if it, got := b.Get(t.Context(), k); err != nil || got != nil || it.Revision != rev {
			t.Errorf("then it is %+v, %v; Put returned %v and %v", it, got, rev, err)
		}
		page, err := b.Read(t.Context(), backend.Position{}, 10)
		if last := page.Records[len(page.Records)-1]; err != nil || string(last.Data) != "step" || last.Cause != rev {
			t.Errorf("the last record is %+v, %v; its cause should be %v", last, err, rev)
		}
		r.stop()
		synctest.Wait()
	})
}

// Old records are gone for who follows, also where nobody has used the log since.
func TestFollowTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Limits{Age: time.Minute})
		first := fill(t, b, 1)
		fill(t, b, 1)
		time.Sleep(time.Minute + 1)
		r := follow(t, b, first, nil)
		if lost := (*backend.LostError)(nil); !errors.As(r.err, &lost) {
			t.Errorf("Follow returned %v after the records %v", r.err, r.seqs)
		}
		r.stop()
		b.Close(t.Context())
		if r := follow(t, b, first, nil); !errors.Is(r.err, backend.ErrClosed) {
			t.Errorf("after Close, Follow returned %v", r.err)
		}
	})
}
