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

// wantEmpty checks that presence holds nothing once everybody has left.
func wantEmpty(t *testing.T, b *Backend) {
	t.Helper()
	p := b.presence
	sessions := len(p.sessions) + len(p.ends)
	for _, n := range p.nodes {
		sessions += len(n.sessions)
	}
	if len(p.channels) > 0 || sessions > 0 {
		t.Errorf("%d channels and %d entries of sessions were left over", len(p.channels), sessions)
	}
}
