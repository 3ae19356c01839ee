package wsconn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// Opcodes: RFC 6455, section 5.2. Those of control frames have controlBit.
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xA

	controlBit = 0x8
	finBit     = 0x80
	maskBit    = 0x80
	rsvBits    = 0x70
)

// maxControl is the largest payload of a control frame, in bytes: RFC 6455,
// section 5.5.
const maxControl = 125

// header is the header of a frame. Its length is that of the payload.
type header struct {
	op     byte
	fin    bool
	length int64
	mask   [4]byte
}

func (h header) control() bool { return h.op&controlBit != 0 }

// message is a message that is being read.
type message struct {
	data   []byte
	begun  bool
	marked time.Time // when it last made progress
	since  int       // bytes since then
	end    time.Time // when it must be complete
}

// Read returns the next message. The error is a [*CloseError] if the peer closed
// the connection, or if it broke a rule and must be told so with Close. No Read
// may follow an error, but Discard should. [ErrIdle] is none of these errors.
func (c *Conn) Read() ([]byte, error) {
	if c.br == nil {
		c.br = readers.Get().(*bufio.Reader)
		c.br.Reset(&c.src)
	}
	c.src.by = time.Time{}
	defer c.receiving.Store(false)
	var m message
	for {
		h, err := c.frame(&m)
		if err == ErrIdle {
			return nil, err
		}
		if err != nil {
			return nil, c.readError(err)
		}
		if h.control() {
			err = c.control(h)
		} else {
			err = c.data(&m, h)
		}
		if err != nil {
			return nil, c.readError(err)
		}
		if !h.control() && h.fin {
			break
		}
		if !m.begun {
			c.src.by = time.Time{}
		}
	}
	if !utf8.Valid(m.data) {
		return nil, &CloseError{Code: invalidData, Reason: "invalid UTF-8"} // RFC 6455, section 8.1
	}
	return m.data, nil
}

// readError notes what can still be read after err, and returns the error for the
// caller.
func (c *Conn) readError(err error) error {
	switch {
	case err == tooSlow:
		c.astray = true
	case !errors.As(err, new(*CloseError)):
		c.heard.close() // broken
	}
	return err
}

// tooSlow is the error of a message that made too little progress.
var tooSlow error = &CloseError{Code: tooMuch, Reason: "message not complete in time"}

// frame reads and checks the header of a frame, and ends the connection if too many
// frames come.
func (c *Conn) frame(m *message) (header, error) {
	h, err := c.header()
	if err != nil {
		return h, err
	}
	switch {
	case h.control():
	case !m.begun && h.op == opContinue:
		return h, violation("continuation of nothing")
	case m.begun && h.op != opContinue:
		return h, violation("message within a message")
	case h.op == opBinary:
		return h, &CloseError{Code: unsupported, Reason: "binary message"}
	case h.length > int64(c.opts.ReadLimit-len(m.data)):
		return h, &CloseError{Code: tooBig, Reason: "message too large"}
	}
	if (h.op != opContinue || h.length < Progress) && !c.opts.Admit() {
		return h, &CloseError{Code: tooMuch, Reason: "too many frames"}
	}
	return h, nil
}

// header reads the header of the next frame. From its first byte on the peer has
// limited time for the rest.
func (c *Conn) header() (h header, err error) {
	var b [2]byte
	if b[0], err = c.br.ReadByte(); err != nil {
		return h, err
	}
	if c.src.by.IsZero() {
		c.src.by = time.Now().Add(c.opts.Patience)
	}
	c.astray = true // until a whole header has been read
	if b[1], err = c.br.ReadByte(); err != nil {
		return h, err
	}
	h.op, h.fin, h.length = b[0]&0xF, b[0]&finBit != 0, int64(b[1]&^maskBit)
	switch {
	case b[0]&rsvBits != 0:
		return h, violation("reserved bits")
	case h.op > opBinary && h.op < opClose, h.op > opPong:
		return h, violation("reserved opcode")
	case b[1]&maskBit == 0:
		return h, violation("frame without a mask")
	case h.control() && !h.fin:
		return h, violation("fragmented control frame")
	case h.control() && h.length > maxControl:
		return h, violation("control frame too long")
	}
	if h.length, err = c.length(h.length); err != nil {
		return h, err
	}
	if _, err = io.ReadFull(c.br, h.mask[:]); err != nil {
		return h, err
	}
	c.astray, c.left = false, h.length
	return h, nil
}

// length reads the rest of a length. It must be the shortest form: RFC 6455,
// section 5.2.
func (c *Conn) length(short int64) (int64, error) {
	var b [8]byte
	size, least := 0, int64(0)
	switch short {
	case 126:
		size, least = 2, 126
	case 127:
		size, least = 8, 1<<16
	default:
		return short, nil
	}
	if _, err := io.ReadFull(c.br, b[8-size:]); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint64(b[:]))
	if n < least { // or negative
		return 0, violation("bad length")
	}
	return n, nil
}

func violation(what string) error {
	return &CloseError{Code: protocolError, Reason: "protocol error: " + what}
}

// data reads the payload of a frame of a message.
func (c *Conn) data(m *message, h header) error {
	if !m.begun {
		now := time.Now()
		m.begun, m.marked = true, now
		c.receiving.Store(true)
		m.end = now.Add(c.opts.Patience + time.Duration(c.opts.ReadLimit)*time.Second/Slowest)
	}
	const step = 4 << 10 // memory grows with the bytes that arrive, not with the announced length
	for at := 0; c.left > 0; {
		n := int(min(c.left, step))
		m.data = slices.Grow(m.data, n)
		p := m.data[len(m.data) : len(m.data)+n]
		n, err := c.br.Read(p)
		unmask(p[:n], h.mask, at)
		m.data, at, c.left = m.data[:len(m.data)+n], at+n, c.left-int64(n)
		if err != nil {
			return err
		}
		if m.since += n; m.since >= Progress {
			m.since, m.marked = 0, time.Now()
			c.src.by = earlier(m.marked.Add(c.opts.Patience), m.end)
		}
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// unmask decodes the bytes of a payload from at on: RFC 6455, section 5.3.
func unmask(p []byte, mask [4]byte, at int) {
	for i := range p {
		p[i] ^= mask[(at+i)&3]
	}
}

// control reads a control frame and does what it asks for.
func (c *Conn) control(h header) error {
	var buf [maxControl]byte
	p := buf[:h.length]
	if _, err := io.ReadFull(c.br, p); err != nil {
		return err
	}
	c.left = 0
	unmask(p, h.mask, 0)
	switch h.op {
	case opPing:
		c.owePong(p) // answered before the next read that waits: a flood of pings gets one answer
		return nil
	case opPong:
		c.notePong(p)
		return nil
	}
	c.heard.close()
	told := parseClose(p)
	if s := c.shared; s != nil && told.Peer {
		s.echo.Store(told) // for Finish, if it has not begun
	}
	if told.Peer && c.sender() == nil {
		_ = c.echoClose(told.Code) // the peer has gone, or gets it
	}
	return told
}

// parseClose returns the code and reason of a close frame, or the protocol error if
// it is invalid: RFC 6455, sections 5.5.1, 7.1.5 and 7.4.
func parseClose(p []byte) *CloseError {
	if len(p) == 0 {
		return &CloseError{Code: noStatus, Peer: true}
	}
	if len(p) == 1 {
		return &CloseError{Code: protocolError, Reason: "protocol error: half a close code"}
	}
	code, reason := int(binary.BigEndian.Uint16(p)), p[2:]
	switch {
	case !validCode(code):
		return &CloseError{Code: protocolError, Reason: "protocol error: bad close code"}
	case !utf8.Valid(reason):
		return &CloseError{Code: invalidData, Reason: "invalid UTF-8"}
	}
	return &CloseError{Code: code, Reason: string(reason), Peer: true}
}

// validCode reports whether a peer may send a close code: one that RFC 6455,
// section 7.4, or the IANA registry defines for that, or an application's.
func validCode(code int) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// discardLimit bounds the bytes that Discard reads: a peer that sends more before its
// close frame must not keep the server busy.
const discardLimit = 64 << 10

// Discard reads until the peer's close frame. It must be the last call of the
// goroutine that reads. It returns when the frame has come, the connection is
// closed, or too many other bytes have come.
func (c *Conn) Discard() {
	defer c.deaf.close()
	c.src.by, c.src.try = time.Time{}, nil
	if c.br == nil {
		c.br = bufio.NewReader(&c.src)
	}
	for budget := int64(discardLimit); !c.heard.isClosed() && !c.astray; {
		if budget -= c.left; budget < 0 {
			return
		}
		_, err := c.br.Discard(int(c.left))
		h := header{}
		if err == nil {
			h, err = c.header()
		}
		var told *CloseError
		switch {
		case errors.As(err, &told):
			return
		case err != nil || h.op == opClose:
			c.heard.close()
			return
		}
		budget -= 8
		c.src.by = time.Time{}
	}
}
