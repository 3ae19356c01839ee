package memory

import (
	"fmt"
	"testing"
)

func TestQueue(t *testing.T) {
	var q queue[int]
	pushed, popped := 0, 0
	for round := range 50 {
		for range round {
			q.push(pushed)
			pushed++
		}
		for range round / 2 {
			if got := q.pop(); got != popped {
				t.Fatalf("popped %d, want %d", got, popped)
			}
			popped++
		}
		if q.len() != pushed-popped || q.len() > 0 && *q.at(q.len() - 1) != pushed-1 {
			t.Fatalf("the length is %d after %d pushes and %d pops", q.len(), pushed, popped)
		}
	}
}

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
