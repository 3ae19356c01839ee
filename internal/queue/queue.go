// Package queue is a first-in, first-out buffer.
package queue

// Queue grows by doubling and reuses its memory, so a queue of steady length does not
// allocate. The zero Queue is empty.
type Queue[T any] struct {
	items []T // length is zero or a power of two
	head  int
	n     int
}

// Len returns how many items the queue holds.
func (q *Queue[T]) Len() int { return q.n }

// At returns the i-th oldest item.
func (q *Queue[T]) At(i int) T { return q.items[(q.head+i)&(len(q.items)-1)] }

// Push adds an item after the others.
func (q *Queue[T]) Push(item T) {
	if q.n == len(q.items) {
		q.grow()
	}
	q.items[(q.head+q.n)&(len(q.items)-1)] = item
	q.n++
}

// Pop takes the oldest item.
func (q *Queue[T]) Pop() T {
	var zero T
	item := q.items[q.head]
	q.items[q.head] = zero // so that the queue does not keep the item's memory alive
	q.head = (q.head + 1) & (len(q.items) - 1)
	q.n--
	return item
}

func (q *Queue[T]) grow() {
	items := make([]T, max(4, 2*len(q.items)))
	for i := range q.n {
		items[i] = q.At(i)
	}
	q.items, q.head = items, 0
}
