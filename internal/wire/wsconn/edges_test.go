package wsconn

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The examples of RFC 6455, section 5.7, and a message whose payload comes in pieces that
// the mask does not divide.
func TestExamplesOfTheRFC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		p.serve()
		p.write([]byte("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"))
		if got := <-p.messages; got != "Hello" {
			t.Errorf("the masked message is read as %q", got)
		}
		p.write([]byte("\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"))
		p.want(opPong, "Hello")
		whole := raw(text, "a message in many pieces")
		for len(whole) > 0 {
			n := min(3, len(whole))
			p.write(whole[:n])
			whole = whole[n:]
			synctest.Wait()
		}
		if got := <-p.messages; got != "a message in many pieces" {
			t.Errorf("read as %q", got)
		}
		p.write(raw(ping, strings.Repeat("x", 125))) // as long as can be
		p.want(opPong, strings.Repeat("x", 125))
	})
	if got := string(Frame([]byte("Hello"))); got != "\x81\x05Hello" {
		t.Errorf("a message is framed as %q", got)
	}
	if got := string(Frame(make([]byte, 1<<16))[:10]); got != "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00" {
		t.Errorf("64 KiB are framed as %q", got)
	}
	if Text(nil) != nil {
		t.Error("no frame has a text")
	}
}

// A thousand bytes in each ten seconds are progress enough, and a little less is not.
func TestLeastProgress(t *testing.T) {
	for size, want := range map[int]bool{Progress: true, Progress - 1: false} {
		synctest.Test(t, func(t *testing.T) {
			p := connect(t, defaults())
			p.serve()
			msg := strings.Repeat("x", 5*size)
			whole := raw(text, msg)
			head := len(whole) - len(msg)
			p.write(whole[:head])
			for whole = whole[head:]; len(whole) > 0; whole = whole[size:] {
				if _, err := p.net.Write(whole[:size]); err != nil {
					break
				}
				synctest.Wait()
				time.Sleep(9 * time.Second)
			}
			select {
			case got := <-p.messages:
				if !want || got != msg {
					t.Errorf("%d bytes at a time: %d arrive", size, len(got))
				}
			default:
				if want {
					t.Errorf("%d bytes at a time do not arrive: %v", size, <-p.ended)
				}
			}
			p.net.Close()
		})
	}
}

// A peer that does not read costs one wait, however long the message is and whatever else
// it is owed, and the error is told.
func TestStalledInALongMessage(t *testing.T) {
	msg := strings.Repeat("x", 10*Fragment)
	for name, write := range map[string]func(c *Conn, msg string) error{
		"Write":         func(c *Conn, msg string) error { return c.Write([]byte(msg)) },
		"WriteWithRoom": func(c *Conn, msg string) error { return c.WriteWithRoom(append(make([]byte, Room), msg...)) },
		"WriteFrame":    func(c *Conn, msg string) error { return c.WriteFrame(Frame([]byte(msg))) },
	} {
		for _, msg := range []string{msg, "short"} {
			bubble(t, name, func(t *testing.T) {
				p := connect(t, defaults())
				p.conn.owePong([]byte("pong"))
				began := time.Now()
				err := write(p.conn, msg)
				if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != defaults().WriteTime {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		bubble(t, name+" to nobody", func(t *testing.T) {
			p := connect(t, defaults())
			p.net.Close()
			if err := write(p.conn, msg); err == nil {
				t.Error("no error")
			}
			began := time.Now()
			if err := p.conn.Ping(t.Context()); err == nil || time.Since(began) > 0 {
				t.Errorf("a ping to nobody: %v after %v", err, time.Since(began))
			}
		})
	}
}

// A pong that is owed when the connection is closed does not end the wait for the peer.
func TestCloseWithAPongOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		p.conn.owePong([]byte("late"))
		closed := make(chan time.Duration, 1)
		began := time.Now()
		go func() { p.conn.Close(1001, ""); closed <- time.Since(began) }()
		if f, err := p.next(); err != nil || f.op != opClose {
			t.Fatal(f, err)
		}
		synctest.Wait() // for its answer, which nobody reads yet
		go p.conn.Discard()
		time.Sleep(time.Second)
		p.write(closing(1001, ""))
		if took := <-closed; took != time.Second {
			t.Errorf("it took %v", took)
		}
		if f, err := p.next(); err == nil {
			t.Errorf("%v follows the close frame", f)
		}
	})
}

// A ping ends with the close frame of the peer.
func TestPingAndCloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		go p.conn.Read()
		asked := make(chan error, 1)
		began := time.Now()
		go func() { asked <- p.conn.Ping(t.Context()) }()
		if f, err := p.next(); err != nil || f.op != opPing {
			t.Fatal(f, err)
		}
		go io.Copy(io.Discard, p.br) // the answer
		p.write(closing(1001, ""))
		if err := <-asked; !errors.Is(err, net.ErrClosed) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// What comes with the request is read first.
func TestEarly(t *testing.T) {
	for early, want := range map[string]bool{"": false, clientFrame(opText, "early"): true} {
		synctest.Test(t, func(t *testing.T) {
			p := ask(t, defaults(), request+"\r\n"+early, nil)
			if got := p.conn.IsEarly(); got != want {
				t.Errorf("%q: early is %v", early, got)
			}
			if want {
				if msg, err := p.conn.Read(); string(msg) != "early" || err != nil || p.conn.IsEarly() {
					t.Errorf("%q, %v", msg, err)
				}
			}
		})
	}
}

// Who breaks a rule is told which one.
func TestViolationsAreExplained(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"reserved bits":    {slices.Concat(raw(text|0x40, ""), raw(text, "after")), "reserved bits"},
		"close code":       {closing(1005, ""), "bad close code"},
		"half a code":      {raw(finBit|opClose, "x"), "half a close code"},
		"UTF-8 of a close": {closing(1000, "\xff"), "invalid UTF-8"},
	} {
		bubble(t, name, func(t *testing.T) {
			p := connect(t, defaults())
			p.serve()
			go p.net.Write(c.raw)
			if f, err := p.next(); err != nil || f.op != opClose || !strings.Contains(string(f.data), c.want) {
				t.Errorf("%v, %v", f, err)
			}
			p.net.Close()
			if <-p.ended; len(p.messages) > 0 {
				t.Errorf("the message %q is read", <-p.messages)
			}
		})
	}
}

// The rest of a message that has begun is waited for, also by a reader that does not wait
// for messages, and the end of the connection is told.
func TestReaderInAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		if err := p.conn.Share(new(Sender), &full{}, p.conn.net.(Reader), func() {}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.conn.Read(); err != ErrIdle {
			t.Errorf("nothing has come: %v", err)
		}
		whole := slices.Concat(raw(opText, "first, "), raw(finBit|opContinue, "second"))
		for _, cut := range []int{1, 3, 8, 13, 14, 20} {
			go func() {
				p.net.Write(whole[:cut])
				time.Sleep(time.Second)
				p.net.Write(whole[cut:])
			}()
			synctest.Wait() // the first part has come
			if msg, err := p.conn.Read(); string(msg) != "first, second" || err != nil {
				t.Errorf("cut at %d: %q, %v", cut, msg, err)
			}
		}
		p.net.Close()
		if _, err := p.conn.Read(); err == nil || err == ErrIdle {
			t.Errorf("the peer has gone: %v", err)
		}
	})
}

// deadEnd is a connection on which nothing can be written.
type deadEnd struct {
	net.Conn
	deadline, write error
	closed          bool
}

func (d *deadEnd) SetWriteDeadline(time.Time) error { return d.deadline }
func (d *deadEnd) Write([]byte) (int, error)        { return 0, d.write }
func (d *deadEnd) Close() error                     { d.closed = true; return nil }

// A handshake that cannot be answered leaves nothing.
func TestHandshakeFails(t *testing.T) {
	broken := errors.New("broken")
	for _, d := range []*deadEnd{{deadline: broken}, {write: broken}} {
		rw := bufio.NewReadWriter(bufio.NewReader(strings.NewReader("")), bufio.NewWriter(io.Discard))
		if c, err := Accept(d, rw, httptest.NewRequest("GET", "/", nil), nil, defaults()); c != nil || !errors.Is(err, broken) || !d.closed {
			t.Errorf("%v, %v, closed: %v", c, err, d.closed)
		}
	}
}

// A peer that takes no answer to its ping is not read from without end.
func TestPongNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		go p.net.Write(raw(ping, "x"))
		began := time.Now()
		if _, err := p.conn.Read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != defaults().WriteTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
