package load

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/maravilla-realtime/realtime/bench/internal/target"
)

const (
	stDial = iota
	stHead
	stOpen
	stDead
)

const markLen = len(target.Magic) + 16

type conn struct {
	fd      int
	state   uint8
	tailLen uint8
	tail    [markLen]byte
	last    uint64
	count   uint64
	head    []byte
	req     []byte
	channel string
	chunk   chunks
}

// dial begins to connect a subscriber.
func (c *Client) dial(channel string) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	// A few source addresses, so that ports held in TIME_WAIT never run out.
	src := syscall.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(1 + len(c.conns)%16)}}
	syscall.SetsockoptInt(fd, syscall.SOL_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, 1)
	if err := syscall.Bind(fd, &src); err != nil {
		return err
	}
	if err := syscall.Connect(fd, &c.to); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return err
	}
	path := strings.ReplaceAll(c.spec.Path, "{ch}", channel)
	req := "GET " + path + " HTTP/1.1\r\nHost: " + c.spec.Addr + "\r\nOrigin: http://" + c.spec.Addr + "\r\n"
	if c.spec.Proto == "ws" {
		req += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	} else {
		req += "Accept: text/event-stream\r\n\r\n"
	}
	k := &conn{fd: fd, req: []byte(req), channel: channel}
	c.conns = append(c.conns, k)
	c.byFD[fd] = k
	return c.watch(fd, syscall.EPOLLOUT)
}

// read takes what has come on a connection.
func (c *Client) read(k *conn) error {
	t := int(k.tailLen)
	off := 32 - t
	copy(c.buf[off:32], k.tail[:t])
	n, err := syscall.Read(k.fd, c.buf[32:])
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return nil
	}
	if n <= 0 || err != nil {
		return c.ended(k)
	}
	c.Reads++
	if k.state == stHead {
		return c.readHead(k, c.buf[32:32+n])
	}
	if c.spec.Proto == "ws" {
		if err := c.answer(k, c.buf[32:32+n]); err != nil {
			return err
		}
	}
	if k.chunk.on {
		n = len(k.chunk.strip(c.buf[32 : 32+n]))
	}
	c.scan(k, c.buf[off:32+n])
	return nil
}

// ended forgets a connection that the server has closed.
func (c *Client) ended(k *conn) error {
	if k.state == stOpen {
		c.open--
	}
	c.dead++
	k.state = stDead
	delete(c.byFD, k.fd)
	syscall.Close(k.fd)
	if k.head != nil {
		return fmt.Errorf("closed by server: %q", k.head)
	}
	return nil
}

// readHead takes a part of the response's head, and with its end says hello.
func (c *Client) readHead(k *conn, b []byte) error {
	k.head = append(k.head, b...)
	i := bytes.Index(k.head, []byte("\r\n\r\n"))
	if i < 0 {
		return nil
	}
	if !bytes.HasPrefix(k.head, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(k.head, []byte("HTTP/1.1 101")) {
		return fmt.Errorf("refused: %q", k.head)
	}
	b = k.head[i+4:]
	if bytes.Contains(k.head[:i], []byte("Transfer-Encoding: chunked")) {
		k.chunk.on = true
		b = k.chunk.strip(b)
	}
	k.head, k.state = nil, stOpen
	c.open++
	var err error
	switch {
	case c.spec.Proto == "ws" && c.spec.EngineIO:
		err = c.answer(k, b)
	case c.spec.Proto == "ws":
		err = c.hello(k)
	}
	c.scan(k, b)
	return err
}
