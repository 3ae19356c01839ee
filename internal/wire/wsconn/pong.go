package wsconn

import (
	"bytes"
	"strconv"
	"sync"
)

// firsts are memory for TryPong. It has room for most messages, so that what is no pong
// takes no more reads than without TryPong.
var firsts = sync.Pool{New: func() any { return new([512]byte) }}

// TryPong reads what has come on a connection with a [Reader] that rests: see [Conn.Rest].
// It does not block. Where that is nothing, or one pong, as an idle peer sends again and
// again, it returns true: then there is nothing to read. Everything else it keeps for Read.
// It is for the goroutine that would call Read, or for one in its place.
func (c *Conn) TryPong() bool {
	s := &c.src
	if c.br != nil || s.try == nil || s.failed != nil || len(s.early) > 0 {
		return false
	}
	buf := firsts.Get().(*[512]byte)
	defer firsts.Put(buf)
	n, err := s.try.TryRead(buf[:])
	switch got := buf[:n]; {
	case err != nil:
		s.failed = err
		return false
	case n == 0:
		return true
	case !isPong(got) || !c.opts.Admit(): // Read asks again
		s.early = bytes.Clone(got)
		return false
	default:
		var mask [4]byte
		copy(mask[:], got[2:])
		payload := got[2+len(mask):]
		unmask(payload, mask, 0)
		c.notePong(payload)
		return true
	}
}

// isPong reports whether b is one whole pong of a client, of a length that a control frame
// may have: larger numbers in its place stand for lengths that follow.
func isPong(b []byte) bool {
	if len(b) < 2+4 || b[0] != finBit|opPong || b[1]&maskBit == 0 {
		return false
	}
	length := int(b[1] &^ maskBit)
	return length <= maxControl && length == len(b)-2-4
}

// notePong notes that the peer has answered a ping, if that is the last one. A Sender looks
// for itself when the time for the answer is over: so the goroutine that writes is not
// woken for something that it must not do.
func (c *Conn) notePong(payload []byte) {
	n, _ := strconv.ParseUint(string(payload), 10, 64) // 0, as no ping has, of what is no number
	if n == 0 || n != c.asked.Load() {
		return
	}
	if s := c.sender(); s != nil {
		s.answered.Store(n)
		return
	}
	select {
	case c.answered <- n:
	default:
	}
}
