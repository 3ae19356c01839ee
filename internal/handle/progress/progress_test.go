package progress

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

func at(seq uint64) backend.Position { return backend.Position{Epoch: 1, Seq: seq} }

func expect(t *testing.T, tr *Tracker, floor uint64, done []uint64, failed map[uint64]int) {
	t.Helper()
	p, _ := tr.Delta()
	slices.Sort(p.Done)
	if p.Floor != at(floor) || !slices.Equal(p.Done, done) || !maps.Equal(p.Failed, failed) {
		t.Errorf("progress is %+v, want floor %d, done %v, failed %v", p, floor, done, failed)
	}
}

func TestTake(t *testing.T) {
	tr := New(at(10))
	if _, any := tr.Delta(); any {
		t.Error("there is progress before anything was done")
	}
	tr.Begin(at(12))
	tr.Begin(at(14))
	tr.Begin(at(15))
	tr.Read(at(20))
	expect(t, tr, 11, nil, nil)
	tr.Done(at(14))
	tr.Failed(at(12), 1)
	tr.Failed(at(15), 3)
	tr.Failed(at(13), 1) // was never begun
	expect(t, tr, 11, []uint64{14}, map[uint64]int{12: 1, 15: 3})
	expect(t, tr, 11, nil, nil)
	tr.Failed(at(15), 4)
	tr.Done(at(15))
	tr.Done(at(15))
	tr.Done(backend.Position{Epoch: 2, Seq: 12})
	expect(t, tr, 11, []uint64{15}, nil)
	tr.Done(at(12))
	expect(t, tr, 20, nil, nil)
	if n := tr.Pending(); n != 0 {
		t.Errorf("%d are begun", n)
	}
}

func TestRestart(t *testing.T) {
	tr := New(at(10))
	tr.Begin(at(11))
	tr.Begin(at(12))
	tr.Read(at(12))
	tr.Done(at(12))
	tr.Failed(at(11), 2)
	tr.Restart(at(30))
	expect(t, tr, 30, nil, nil)
	tr.Done(at(11))
	expect(t, tr, 30, nil, nil)
	if n := tr.Pending(); n != 0 {
		t.Errorf("%d are begun", n)
	}
}

// There is progress if the floor has moved, or something after it was done or has failed.
func TestAny(t *testing.T) {
	tr := New(at(10))
	tr.Begin(at(12))
	tr.Begin(at(13))
	tr.Begin(at(14))
	for _, c := range []struct {
		what string
		do   func()
		want bool
	}{
		{"reading", func() { tr.Read(at(14)) }, true},
		{"nothing", func() {}, false},
		{"a failure", func() { tr.Failed(at(13), 1) }, true},
		{"an end", func() { tr.Done(at(14)) }, true},
		{"nothing", func() {}, false},
		{"an eviction", func() { tr.Evict(at(13)) }, true},
		{"an eviction of all", func() { tr.Evict(at(20)) }, false},
	} {
		c.do()
		if _, any := tr.Delta(); any != c.want {
			t.Errorf("%s is progress: %v", c.what, any)
		}
	}
	tr = New(at(10))
	tr.Begin(at(11))
	tr.Begin(at(12))
	tr.Begin(at(13))
	tr.Delta()
	tr.Failed(at(12), 1)
	tr.Done(at(13)) // one of each
	if _, any := tr.Delta(); !any {
		t.Error("an end and a failure are no progress")
	}
}

// An evicted record holds back neither the floor nor the list of finished positions. It
// holds back only Until.
func TestLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(at(10))
		for seq := uint64(11); seq <= 15; seq++ {
			tr.Begin(at(seq))
		}
		tr.Read(at(15))
		tr.Failed(at(11), 1)
		for _, seq := range []uint64{12, 14} {
			tr.Done(at(seq))
		}
		tr.Evict(backend.Position{Epoch: 2, Seq: 15})
		expect(t, tr, 10, []uint64{12, 14}, map[uint64]int{11: 1})
		tr.Failed(at(13), 1)
		tr.Evict(at(13))
		expect(t, tr, 14, nil, nil)
		if n := tr.begun.Len(); n != 1 || tr.Pending() != 3 {
			t.Errorf("%d are kept, %d begun", n, tr.Pending())
		}
		tr.Done(at(15))
		tr.Failed(at(11), 2)
		expect(t, tr, 15, nil, nil)
		var returned bool
		go func() { returned = tr.Until(t.Context(), at(15)) == nil }()
		tr.Done(at(11))
		synctest.Wait()
		if returned {
			t.Error("Until did not wait for what was let go")
		}
		tr.Done(at(13))
		tr.Done(at(13))
		synctest.Wait()
		if !returned || tr.Pending() != 0 || len(tr.pieces) != 0 {
			t.Errorf("Until returned: %v; %d are begun, %d kept", returned, tr.Pending(), len(tr.pieces))
		}
	})
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(at(0))
		tr.Begin(at(1))
		tr.Read(at(5))
		var err error
		returned := false
		go func() { err = tr.Until(t.Context(), at(5)); returned = true }()
		synctest.Wait()
		if returned {
			t.Fatal("Until did not wait")
		}
		tr.Done(at(1))
		synctest.Wait()
		if !returned || err != nil {
			t.Errorf("Until returned %v, %v", returned, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tr.Until(ctx, at(6)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Until returned %v", err)
		}
	})
}

// Whatever the order in which work ends, what Delta returned adds up to what is
// done.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		tr := New(at(0))
		var open []uint64
		isDone, told := map[uint64]bool{}, map[uint64]bool{}
		var floor, read uint64
		for range 200 {
			switch k := rnd.IntN(5); {
			case k < 2:
				if read++; rnd.IntN(2) == 0 {
					tr.Begin(at(read))
					open = append(open, read)
				} else {
					isDone[read] = true
				}
				tr.Read(at(read))
			case k < 4 && len(open) > 0:
				i := rnd.IntN(len(open))
				tr.Done(at(open[i]))
				isDone[open[i]] = true
				open = slices.Delete(open, i, i+1)
			default:
				p, _ := tr.Delta()
				floor = p.Floor.Seq
				for _, seq := range p.Done {
					told[seq] = true
				}
				for seq := uint64(1); seq <= read; seq++ {
					known := seq <= floor || told[seq]
					if known && !isDone[seq] || !known && isDone[seq] && slices.ContainsFunc(open, func(o uint64) bool { return o < seq }) && tr.pieces[seq] != nil {
						t.Fatalf("seed %d: seq %d is done: %v, known: %v; floor %d", seed, seq, isDone[seq], known, floor)
					}
				}
				if want := read; len(open) > 0 {
					if want = slices.Min(open) - 1; floor != want {
						t.Fatalf("seed %d: floor %d, want %d", seed, floor, want)
					}
				}
			}
		}
	}
}
