package shard

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"weak"

	"github.com/maravilla-realtime/realtime/internal/transport/poll"
)

// Where no set of epoll can be opened, a connection gets goroutines, which is logged once;
// the next one is watched as soon as there can be one.
func TestNoPoller(t *testing.T) {
	defer func(real func(func(func())) (*poll.Poller, error)) { open = real }(open)
	real, fails := open, true
	open = func(start func(func())) (*poll.Poller, error) {
		if fails {
			return nil, syscall.EMFILE
		}
		return real(start)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var logged bytes.Buffer
	var goroutines sync.WaitGroup
	p := New(1, goroutines.Go, slog.New(slog.NewTextHandler(&logged, nil)))
	defer func() { p.Close(); goroutines.Wait() }()
	for _, watched := range []bool{false, false, true, true} {
		fails = !watched
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		link, r, at := p.Duplex(conn, nobody{})
		defer link.Close()
		if _, is := link.(*socket); is != watched || (r != nil) != watched || at != watched {
			t.Errorf("watched: %v, as a %T", watched, link)
		}
	}
	if n := strings.Count(logged.String(), "too many open files"); n != 1 {
		t.Errorf("logged %d times: %s", n, logged.String())
	}
}

// A link does not block where the host has put the socket into blocking mode.
func TestBlockingMode(t *testing.T) {
	conn, client := blocking(t)
	p := pool(t, 1)
	link := p.Link(conn, nobody{})
	defer link.Close()
	defer time.AfterFunc(patience, func() { client.Close() }).Stop() // ends a write that blocks
	const much = 64 << 20
	if n, err := link.Write(make([]byte, much)); n == 0 || n == much || err != nil {
		t.Errorf("wrote %d bytes of %d, which nobody reads: %v", n, much, err)
	}
}

// Nor does a read block there: the goroutine of the poller may read, for which all
// connections wait.
func TestReadInBlockingMode(t *testing.T) {
	conn, client := blocking(t)
	p := pool(t, 1)
	link, r, _ := p.Duplex(conn, nobody{})
	defer link.Close()
	defer time.AfterFunc(patience, func() { client.Close() }).Stop() // ends a read that blocks
	if n, err := r.TryRead(make([]byte, 10)); n != 0 || err != nil {
		t.Errorf("read %d bytes of nothing: %v", n, err)
	}
}

// blocking is tcp, with its first end in blocking mode, as [os.File.Fd] of the connection's
// File leaves it.
func blocking(t *testing.T) (conn, client net.Conn) {
	conn, client = tcp(t)
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	file.Fd()
	file.Close()
	return conn, client
}

type nobody struct{}

func (nobody) Ready(poll.Events) {}

// told is a listener that keeps what it was told.
type told struct {
	events chan poll.Events
}

func newTold() *told { return &told{make(chan poll.Events, 1000)} }

func (l *told) Ready(ev poll.Events) { l.events <- ev }

// until returns all that was told until one of some events is, and fails if none comes.
func (l *told) until(t *testing.T, want poll.Events) (all poll.Events) {
	t.Helper()
	late := time.After(patience)
	for all&want == 0 {
		select {
		case ev := <-l.events:
			all |= ev
		case <-late:
			t.Fatalf("told %b, and not %b", all, want)
		}
	}
	return all
}

// A socket that takes no more says so without an error, and that it can be written again,
// each time that it is.
func TestSocketFull(t *testing.T) {
	p := pool(t, 1)
	here, there := tcp(t)
	if err := here.(*net.TCPConn).SetWriteBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	heard := newTold()
	link := p.Link(here, heard)
	defer link.Close()
	if _, is := link.(*socket); !is {
		t.Fatalf("it is a %T", link)
	}
	rest, full := make([]byte, 16<<20), 0
	for {
		n, err := link.Write(rest)
		if err != nil {
			t.Fatalf("with %d bytes left: %v", len(rest), err)
		}
		if _, err := io.CopyN(io.Discard, there, int64(n)); err != nil {
			t.Fatal(err)
		}
		if rest = rest[n:]; len(rest) == 0 {
			break
		}
		full++
		heard.until(t, poll.Writable)
	}
	if full < 2 {
		t.Errorf("full %d times", full)
	}
}

// Of a socket that has taken all, nobody is told that it can be written.
func TestSocketIsNotFull(t *testing.T) {
	p := pool(t, 1)
	here, there := tcp(t)
	heard := newTold()
	link := p.Link(here, heard)
	defer link.Close()
	if n, err := link.Write([]byte("hello")); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	there.Close()
	if all := heard.until(t, poll.Gone); all&poll.Writable != 0 {
		t.Errorf("told %b", all)
	}
}

// A reset by the peer is the error of what is done next.
func TestSocketReset(t *testing.T) {
	for name, do := range map[string]func(Link, Reader) (int, error){
		"write": func(l Link, _ Reader) (int, error) { return l.Write(make([]byte, 100)) },
		"read":  func(_ Link, r Reader) (int, error) { return r.TryRead(make([]byte, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := pool(t, 1)
			here, there := tcp(t)
			heard := newTold()
			link, r, _ := p.Duplex(here, heard)
			defer link.Close()
			if err := there.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			there.Close()
			heard.until(t, poll.Gone)
			if n, err := do(link, r); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// To look for what is not there allocates nothing.
func TestTryReadAllocates(t *testing.T) {
	p := pool(t, 1)
	here, _ := tcp(t)
	link, r, _ := p.Duplex(here, nobody{})
	defer link.Close()
	buf := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		if n, err := r.TryRead(buf); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	}); n > 0 {
		t.Errorf("a read allocates %v times", n)
	}
}

// A link that is closed holds its listener no longer, even if its connection is held.
func TestClosedLinkLetsGo(t *testing.T) {
	p := pool(t, 1)
	here, _ := tcp(t)
	held := func() weak.Pointer[told] {
		heard := newTold()
		p.Link(here, heard).Close()
		return weak.Make(heard)
	}()
	for began := time.Now(); held.Value() != nil; runtime.GC() {
		if time.Since(began) > patience {
			t.Fatal("it is held")
		}
	}
	runtime.KeepAlive(here)
}

// What cannot be watched gets goroutines, which is logged once, if it is not as it should
// be: on another system, or after Close.
func TestUnwatched(t *testing.T) {
	defer func(real func(func(func())) (*poll.Poller, error)) { open = real }(open)
	var logged bytes.Buffer
	newPool := func() *Pool {
		var goroutines sync.WaitGroup
		p := New(1, goroutines.Go, slog.New(slog.NewTextHandler(&logged, nil)))
		t.Cleanup(func() { p.Close(); goroutines.Wait() })
		return p
	}
	p := newPool()
	want := func(what string, p *Pool, c net.Conn, watched bool, lines int) {
		t.Helper()
		link, _, _ := p.Duplex(c, nobody{})
		if _, is := link.(*socket); is != watched {
			t.Errorf("%s: a %T", what, link)
		}
		link.Close()
		if n := strings.Count(logged.String(), "\n"); n != lines {
			t.Errorf("%s: %d lines are logged: %s", what, n, &logged)
		}
	}
	connected := func() net.Conn {
		here, _ := tcp(t)
		return here
	}
	want("no connection", p, new(net.TCPConn), false, 0)
	closed := connected()
	closed.Close()
	want("closed", p, closed, false, 1)
	want("closed, again", p, closed, false, 1)
	want("open", p, connected(), true, 1)
	logged.Reset()
	other, late := newPool(), newPool()
	want("open", other, connected(), true, 0)
	other.Close()
	want("a pool that is closed", other, connected(), false, 0)
	late.Close()
	if want("a pool that was closed at once", late, connected(), false, 0); late.poller != nil {
		t.Error("it has a poller, which nobody closes")
	}
	open = func(func(func())) (*poll.Poller, error) { return nil, poll.ErrUnsupported }
	want("another system", newPool(), connected(), false, 0)
}
