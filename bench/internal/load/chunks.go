package load

// chunks takes the HTTP chunk framing out of a stream: a chunk may end in the
// middle of a mark.
type chunks struct {
	on   bool
	left int // of the chunk's data
	skip int // the line end after it
	size int // read so far of the next chunk's size
}

// strip moves the data in b together and returns it.
func (c *chunks) strip(b []byte) []byte {
	out := b[:0]
	for len(b) > 0 {
		switch {
		case c.left > 0:
			n := min(c.left, len(b))
			out = append(out, b[:n]...)
			b, c.left = b[n:], c.left-n
			if c.left == 0 {
				c.skip = 2
			}
		case c.skip > 0:
			b, c.skip = b[1:], c.skip-1
		default:
			switch d := b[0]; {
			case d == '\n':
				c.left, c.size = c.size, 0
			case d >= '0' && d <= '9':
				c.size = c.size<<4 | int(d-'0')
			case d >= 'a' && d <= 'f':
				c.size = c.size<<4 | int(d-'a'+10)
			}
			b = b[1:]
		}
	}
	return out
}
