package load

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strings"
	"syscall"

	"github.com/maravilla-realtime/realtime/bench/internal/wire"
)

// Opcodes of WebSockets' frames, with the bit of the last one of a message.
const (
	text = 0x81
	ping = 0x89
	pong = 0x8A
)

// Types of Engine.IO's messages.
const (
	engineOpen = '0' // and an object that describes the session
	enginePing = "2"
	enginePong = "3"
)

// hello sends the first messages.
func (c *Client) hello(k *conn) error {
	for _, h := range c.spec.Hello {
		if err := send(k.fd, text, []byte(strings.ReplaceAll(h, "{ch}", k.channel))); err != nil {
			return fmt.Errorf("hello: %w", err)
		}
	}
	return nil
}

// answer sends a pong for each ping in b, and says hello to a session of Engine.IO that
// b opens.
func (c *Client) answer(k *conn, b []byte) error {
	for op, data := range frames(b) {
		var err error
		switch {
		case op == ping:
			err = send(k.fd, pong, data)
		case c.spec.EngineIO && string(data) == enginePing:
			err = send(k.fd, text, []byte(enginePong))
		case c.spec.EngineIO && len(data) > 0 && data[0] == engineOpen:
			err = c.hello(k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// frames yields the frames that b begins with, up to one that is not whole. What is read
// may begin within a frame: a ping is looked for at its beginning, and after whole
// messages there, as servers that are idle send it.
func frames(b []byte) iter.Seq2[byte, []byte] {
	const long, longer = 126, 127
	return func(yield func(byte, []byte) bool) {
		for len(b) >= 2 && (b[0] == text || b[0] == ping) {
			at, size := 2, int(b[1])
			if size == long && len(b) >= 4 {
				at, size = 4, int(binary.BigEndian.Uint16(b[2:]))
			}
			if b[1] >= longer || len(b) < at+size || !yield(b[0], b[at:at+size]) {
				return
			}
			b = b[at+size:]
		}
	}
}

// send sends a frame with a mask of zeroes.
func send(fd int, op byte, data []byte) error {
	frame := wire.AppendMaskedText(nil, data)
	frame[0] = op
	_, err := syscall.Write(fd, frame)
	return err
}

// PingAll sends a WebSocket ping on every connection, so that the target's read
// side has been used once.
func (c *Client) PingAll() {
	if c.spec.Proto != "ws" {
		return
	}
	for _, k := range c.conns {
		if k.state == stOpen {
			syscall.Write(k.fd, []byte{0x89, 0x80, 0, 0, 0, 0})
		}
	}
}
