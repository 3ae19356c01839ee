package socket

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/test/memnet"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// pair returns both ends of a connection of the kernel's.
func pair(t *testing.T) (client, conn net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if conn, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, conn
}

// toSilent returns a connection in memory to a client that reads, and says nothing.
func toSilent(t *testing.T) net.Conn {
	l := memnet.Listen()
	go func() {
		client, _ := l.Dial(t.Context(), "", "")
		_, _ = io.Copy(io.Discard, client)
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// begun returns a socket that a shard drives over conn, and that waits for the hello.
func begun(t *testing.T, d *Driver, conn net.Conn, admit func() bool) *socket {
	return begunAfter(t, d, conn, bufio.NewReader(conn), admit)
}

// begunAfter is begun for a connection of which in has read something already.
func begunAfter(t *testing.T, d *Driver, conn net.Conn, in *bufio.Reader, admit func() bool) *socket {
	d.node.Hijack, d.node.Running = driver.HijackAlways, t.Context()
	r := httptest.NewRequest("GET", "/", nil)
	s := d.newSocket(httptest.NewRecorder(), r)
	handshake := d.node.Conns.Begin()
	defer handshake.End()
	if err := handshake.Add(&s.conn, ""); err != nil {
		t.Fatal(err)
	}
	rw := bufio.NewReadWriter(in, bufio.NewWriter(conn))
	var err error
	if s.ws, err = wsconn.Accept(conn, rw, r, nil, wsconn.Options{
		ReadLimit: 1 << 10, WriteTime: time.Minute, Patience: time.Minute, Admit: admit,
	}); err != nil {
		t.Fatal(err)
	}
	s.sent = d.tally.Open()
	s.begin(conn)
	s.helloLate.Stop() // the machine may be slow
	return s
}

// An idle WebSocket needs no goroutine for a pong, and rests again after it: what comes then
// is read, as is what comes with a pong.
func TestPongsOfAnIdleSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no poller on " + runtime.GOOS)
	}
	d := newDriver(t, nil)
	client, conn := pair(t)
	var frames, readers atomic.Int64
	s := begun(t, d, conn, func() bool {
		var stack [8 << 10]byte
		if bytes.Contains(stack[:runtime.Stack(stack[:], false)], []byte("readOn")) {
			readers.Add(1)
		}
		frames.Add(1)
		return true
	})
	var answers atomic.Int64
	go func() {
		for in := bufio.NewReader(client); ; {
			switch text, err := in.ReadString('}'); {
			case err != nil:
				return
			case strings.Contains(text, "hello_required"):
				answers.Add(1)
			}
		}
	}()
	const pong, op = "\x8a\x80\x00\x00\x00\x00", "\x81\x8d\x00\x00\x00\x00" + `{"op":"ping"}`
	came, read, answered := int64(0), int64(0), int64(0)
	for range 3 {
		for _, c := range []struct {
			text          string
			frames, reads int64 // and of these, by a goroutine for them
			answers       int64
		}{{pong, 1, 0, 0}, {op, 1, 1, 1}, {pong + op, 2, 2, 1}, {op + pong, 2, 2, 1}} {
			came, read, answered = came+c.frames, read+c.reads, answered+c.answers
			if _, err := io.WriteString(client, c.text); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "all is read and answered", func() bool { return frames.Load() == came && answers.Load() == answered })
			testkit.Eventually(t, "it rests", func() bool { return s.reader.Load() == resting })
			if got := readers.Load(); got != read {
				t.Fatalf("%q: goroutines have read %d frames, want %d", c.text, got, read)
			}
		}
	}
	client.Close()
	testkit.Eventually(t, "the connection ends", func() bool { return d.tally.Stats().Open == 0 })
}

// Who has read rests, unless something has come since it looked, or the connection has
// ended: then it goes on, for nobody else would.
func TestRest(t *testing.T) {
	for _, c := range []struct {
		from         int32
		ended, rests bool
	}{{reading, false, true}, {reading, true, false}, {recalled, false, false}, {recalled, true, false}} {
		s := newDriver(t, nil).newSocket(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		s.reader.Store(c.from)
		if c.ended {
			s.life.End(nil)
		}
		to := reading
		if c.rests {
			to = resting
		}
		if got := s.rest(); got != c.rests || s.reader.Load() != to {
			t.Errorf("%+v: it rests: %v, and is %d", c, got, s.reader.Load())
		}
	}
}

// A connection that rests ends in time though its client answers nothing, and does not leave.
func TestEndOfASilentClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, conn := newDriver(t, nil), toSilent(t)
		s := begun(t, d, conn, func() bool { return true })
		synctest.Wait()
		if s.reader.Load() != resting {
			t.Error("it does not rest")
		}
		s.conn.Cancel(conns.Rotated)
		<-s.conn.Done()
	})
}
