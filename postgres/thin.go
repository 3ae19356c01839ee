package postgres

import (
	"bufio"
	"encoding/binary"
	"io"
)

const (
	// thinMost is the largest message of the replication that is held as a whole. The server
	// sends each row as one, of up to 1 GiB.
	thinMost = 4 << 20
	// leftOut is the kind of a column whose value was too large to be held.
	leftOut = 'x'
)

// thinner is a reader of what the server sends, in which rows of more than most bytes lack
// their largest values: a column is then of the kind leftOut. Other messages of the
// replication that are so large say nothing of interest.
type thinner struct {
	from  *bufio.Reader
	most  int64
	plain int64  // how much of the present message passes as it is
	thin  []byte // what is still to be read of one that was made thin
}

func newThinner(from io.Reader) *thinner {
	return &thinner{from: bufio.NewReader(from), most: thinMost}
}

// headerSize is that of the kind and the length of a message of the server.
const headerSize = 5

func (t *thinner) Read(p []byte) (n int, err error) {
	for {
		switch {
		case len(t.thin) > 0:
			n = copy(p, t.thin)
			t.thin = t.thin[n:]
			return n, nil
		case t.plain > 0:
			n, err = t.from.Read(p[:min(int64(len(p)), t.plain)])
			t.plain -= int64(n)
			return n, err
		}
		if err := t.next(); err != nil {
			return 0, err
		}
	}
}

// next looks at the next message.
func (t *thinner) next() error {
	header, err := t.from.Peek(headerSize)
	if err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(header[1:])) // of its own four bytes and the content
	if header[0] != 'd' || size <= t.most {
		t.plain = 1 + size
		return nil
	}
	if _, err := t.from.Discard(headerSize); err != nil {
		return err
	}
	c := &cutter{from: t.from, left: size - 4, room: t.most, out: make([]byte, headerSize, 4096)}
	c.message()
	c.skip(c.left)
	if c.err != nil {
		return c.err
	}
	c.out[0] = 'd'
	binary.BigEndian.PutUint32(c.out[1:], uint32(len(c.out)-1))
	t.thin = c.out
	return nil
}

// cutter copies a message of the replication without its largest values.
type cutter struct {
	from *bufio.Reader
	left int64 // of the message
	room int64 // for values
	out  []byte
	err  error // the first
}

// message copies rows; of any other message it makes one that parse passes over.
func (c *cutter) message() {
	const xlogHeader = 25 // the kind, and where it stands
	if head := c.copy(xlogHeader); len(head) < xlogHeader || head[0] != 'w' {
		c.fail(errPgoutput)
		return
	}
	kind := c.copy(1)
	if len(kind) == 0 {
		return
	}
	switch kind[0] {
	case 'I', 'U', 'D':
		c.row(kind[0])
		if c.left > 0 {
			c.fail(errPgoutput)
		}
	default:
		kind[0] = 'O' // an origin, which says nothing
	}
}

func (c *cutter) row(kind byte) {
	c.copy(4) // the table
	part := c.copy(1)
	if kind == 'U' && len(part) == 1 && part[0] != 'N' {
		c.tuple()
		c.copy(1)
	}
	c.tuple()
}

func (c *cutter) tuple() {
	count := c.copy(2)
	if len(count) < 2 {
		return
	}
	for range binary.BigEndian.Uint16(count) {
		kind := c.copy(1)
		if len(kind) == 0 {
			return
		}
		if kind[0] != 't' {
			continue
		}
		length := c.copy(4)
		if len(length) < 4 {
			return
		}
		size := int64(binary.BigEndian.Uint32(length))
		if size <= maxShown && size <= c.room {
			c.room -= size
			c.copy(size)
			continue
		}
		c.out = c.out[:len(c.out)-4]
		c.out[len(c.out)-1] = leftOut
		c.skip(size)
	}
}

// copy copies n bytes, and returns the copy, which is a part of out. It is nil once
// something is wrong.
func (c *cutter) copy(n int64) []byte {
	if n > c.left {
		c.fail(errPgoutput)
	}
	if c.err != nil {
		return nil
	}
	at := len(c.out)
	c.out = append(c.out, make([]byte, n)...)
	_, err := io.ReadFull(c.from, c.out[at:])
	c.fail(err)
	c.left -= n
	return c.out[at:]
}

func (c *cutter) skip(n int64) {
	if n > c.left {
		c.fail(errPgoutput)
	}
	if c.err != nil {
		return
	}
	_, err := io.CopyN(io.Discard, c.from, n)
	c.fail(err)
	c.left -= n
}

func (c *cutter) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}
