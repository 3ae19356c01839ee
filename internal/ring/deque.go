package ring

// deque is a growing circular buffer: pushed at the back, popped at the front.
type deque[T any] struct {
	buf  []T // length is zero or a power of two
	head int
	n    int
}

func (d *deque[T]) len() int { return d.n }

// at returns the i-th oldest element.
func (d *deque[T]) at(i int) T { return d.buf[(d.head+i)&(len(d.buf)-1)] }

func (d *deque[T]) push(v T) {
	if d.n == len(d.buf) {
		grown := make([]T, max(4, 2*len(d.buf)))
		for i := range d.n {
			grown[i] = d.at(i)
		}
		d.buf, d.head = grown, 0
	}
	d.buf[(d.head+d.n)&(len(d.buf)-1)] = v
	d.n++
}

func (d *deque[T]) pop() T {
	var zero T
	v := d.buf[d.head]
	d.buf[d.head] = zero // let go of what it pointed to
	d.head = (d.head + 1) & (len(d.buf) - 1)
	d.n--
	return v
}
