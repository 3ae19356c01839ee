package conns

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func ids(cs *Conns) (list []uint64) {
	for c := range cs.All() {
		list = append(list, c.ID)
	}
	return list
}

// All yields what is open, the oldest first, however many have come and gone.
func TestAll(t *testing.T) {
	cs := unlimited()
	var have []*opened
	r := rand.New(rand.NewPCG(1, 2))
	for step := range 3_000 {
		growing := step/500%2 == 0
		if len(have) == 0 || r.IntN(10) < 3 == !growing {
			have = append(have, open(t, cs, ""))
		} else {
			i := r.IntN(len(have))
			cs.Remove(have[i].Conn)
			have = slices.Delete(have, i, i+1)
		}
		if step%7 != 0 {
			continue
		}
		var want []uint64
		for _, o := range have {
			want = append(want, o.id)
		}
		if got := ids(cs); !slices.Equal(got, want) {
			t.Fatalf("step %d: %v, want %v", step, got, want)
		}
		if most := 2*len(have) + 1; len(cs.open.rows) > most {
			t.Fatalf("step %d: %d rows for %d connections", step, len(cs.open.rows), len(have))
		}
	}
}

// Connections may come and go while somebody looks at the others: each that was there
// before, and stays, is yielded once.
func TestAllMeanwhile(t *testing.T) {
	cs := unlimited()
	var all []*opened
	for range 3 * batch {
		all = append(all, open(t, cs, ""))
	}
	var got []uint64
	for c := range cs.All() {
		got = append(got, c.ID)
		if c.ID == 1 {
			for _, o := range all[:2*batch+10] { // all that was listed with it, and more
				cs.Remove(o.Conn)
			}
			open(t, cs, "")
		}
		if c.ID == 3*batch {
			break
		}
	}
	var want []uint64
	for id := range uint64(batch) { // listed before they went
		want = append(want, id+1)
	}
	for id := uint64(2*batch + 11); id <= 3*batch; id++ {
		want = append(want, id)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
