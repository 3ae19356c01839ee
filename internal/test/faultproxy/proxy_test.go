package faultproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// echo returns the address of a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if !says(c, "hello") {
		t.Fatal("the proxy does not relay")
	}
	return c
}

// says reports whether the server answers. Where it should not, the wait costs
// little, and a slow machine cannot make the test fail.
func says(c net.Conn, text string) bool {
	_ = c.SetDeadline(time.Now().Add(pace.Slow(10 * time.Second)))
	_, _ = io.WriteString(c, text)
	buf := make([]byte, len(text))
	_, err := io.ReadFull(c, buf)
	return err == nil && string(buf) == text
}

func silent(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
	_, _ = io.WriteString(c, "x")
	n, err := c.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return n == 0 && ok && timeout.Timeout()
}

func TestCut(t *testing.T) {
	p := New(t, echo(t))
	for _, rst := range []bool{true, false} {
		c := dial(t, p)
		if n := p.Cut(rst); n != 1 {
			t.Errorf("cut %d connections, want 1", n)
		}
		_ = c.SetDeadline(time.Now().Add(pace.Slow(10 * time.Second)))
		_, err := c.Read(make([]byte, 1))
		if eof := err == io.EOF; eof == rst {
			t.Errorf("a cut with rst=%v ends with %v", rst, err)
		}
	}
}

func TestSilence(t *testing.T) {
	p := New(t, echo(t))
	before := dial(t, p)
	if n := p.Silence(); n != 1 {
		t.Errorf("silenced %d connections, want 1", n)
	}
	if !silent(before) {
		t.Error("the old connection still speaks, or has ended")
	}
	dial(t, p) // a new one works
	if n := p.Cut(true); n != 1 {
		t.Errorf("cut %d connections beside the silent one, want 1", n)
	}
	_ = before.SetDeadline(time.Now().Add(pace.Slow(10 * time.Second)))
	if _, err := before.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the silent connection is not cut")
	}
}

func TestStallAndRefuse(t *testing.T) {
	p := New(t, echo(t))
	c := dial(t, p)
	resume := p.Stall(true)
	if !silent(c) {
		t.Error("a stalled connection still speaks, or has ended")
	}
	resume()
	_ = c.SetDeadline(time.Now().Add(pace.Slow(10 * time.Second)))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("after the stall: %v", err)
	}
	p.Refuse()
	if d, err := net.Dial("tcp", p.Addr); err == nil {
		d.Close()
		t.Error("somebody listens")
	}
	p.Listen()
	dial(t, p)
}
