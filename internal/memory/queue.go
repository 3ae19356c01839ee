package memory

// A queue is a first-in, first-out buffer that grows by doubling. Its room is
// used again, so that a queue of steady length does not allocate.
type queue[T any] struct {
	items []T // its length is a power of two, or 0
	head  int
	n     int
}

func (q *queue[T]) len() int { return q.n }

// at returns the i-th oldest item; it is valid until the next push or pop.
func (q *queue[T]) at(i int) *T { return &q.items[(q.head+i)&(len(q.items)-1)] }

func (q *queue[T]) push(item T) {
	if q.n == len(q.items) {
		q.grow()
	}
	q.n++
	*q.at(q.n - 1) = item
}

// pop returns the oldest item and forgets it.
func (q *queue[T]) pop() T {
	var zero T
	slot := q.at(0)
	item := *slot
	*slot = zero // lets go of what the item points to
	q.head = (q.head + 1) & (len(q.items) - 1)
	q.n--
	return item
}

func (q *queue[T]) grow() {
	items := make([]T, max(16, 2*len(q.items)))
	for i := range q.n {
		items[i] = *q.at(i)
	}
	q.items, q.head = items, 0
}
