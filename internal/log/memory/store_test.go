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
