package queue

import "testing"

func TestQueue(t *testing.T) {
	var q Queue[int]
	pushed, popped := 0, 0
	for round := range 50 {
		for range round {
			q.Push(pushed)
			pushed++
		}
		for range round / 2 {
			if got := q.Pop(); got != popped {
				t.Fatalf("popped %d, want %d", got, popped)
			}
			popped++
		}
		if q.Len() != pushed-popped || q.Len() > 0 && q.At(q.Len()-1) != pushed-1 {
			t.Fatalf("the length is %d after %d pushes and %d pops", q.Len(), pushed, popped)
		}
	}
}
