package session

// Held returns how many events and parts a buffer refers to.
func (b *Buffer) Held() (n int) {
	for _, it := range b.items[:cap(b.items)] {
		if it.Entry != nil {
			n++
		}
	}
	if b.Part != nil {
		n++
	}
	return n
}
