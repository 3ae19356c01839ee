package memory

import (
	"fmt"
	"testing"
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
