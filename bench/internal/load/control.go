package load

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

func (c *Client) readCtl() {
	var b [64 << 10]byte
	n, err := syscall.Read(c.ctlFD, b[:])
	if errors.Is(err, syscall.EAGAIN) {
		return
	}
	if n <= 0 || err != nil {
		c.err = errors.New("control connection lost: the target died")
		return
	}
	c.ctlBuf = append(c.ctlBuf, b[:n]...)
	for {
		i := bytes.IndexByte(c.ctlBuf, '\n')
		if i < 0 {
			return
		}
		c.ctlLines = append(c.ctlLines, string(c.ctlBuf[:i]))
		c.ctlBuf = c.ctlBuf[i+1:]
	}
}

// Send gives the target a command without waiting for the reply.
func (c *Client) Send(format string, args ...any) error {
	_, err := fmt.Fprintf(fdWriter(c.ctlFD), format+"\n", args...)
	return err
}

type fdWriter int

func (w fdWriter) Write(p []byte) (int, error) { return syscall.Write(int(w), p) }

// Reply waits for the reply to the oldest command, serving subscribers meanwhile.
func (c *Client) Reply(timeout time.Duration) (string, error) {
	deadline := time.Now().Add(timeout)
	for len(c.ctlLines) == 0 {
		if err := c.poll(time.Until(deadline)); err != nil {
			return "", err
		}
		if time.Now().After(deadline) {
			return "", errors.New("control: no reply")
		}
	}
	s := c.ctlLines[0]
	c.ctlLines = c.ctlLines[1:]
	if strings.HasPrefix(s, "err") {
		return s, errors.New("control: " + s)
	}
	return s, nil
}

// Do sends a command and waits for its reply.
func (c *Client) Do(timeout time.Duration, format string, args ...any) (string, error) {
	if err := c.Send(format, args...); err != nil {
		return "", err
	}
	return c.Reply(timeout)
}
