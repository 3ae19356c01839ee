package shard

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/poll"
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

// A link does not block where the host has put the socket into blocking mode, as
// [os.File.Fd] of the connection's File does.
func TestBlockingMode(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
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
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	file.Fd()
	file.Close()
	var goroutines sync.WaitGroup
	p := New(1, goroutines.Go, slog.New(slog.DiscardHandler))
	defer func() { p.Close(); goroutines.Wait() }()
	link := p.Link(conn, nobody{})
	defer link.Close()
	defer time.AfterFunc(patience, func() { client.Close() }).Stop() // ends a write that blocks
	const much = 64 << 20
	if n, err := link.Write(make([]byte, much)); n == 0 || n == much || err != nil {
		t.Errorf("wrote %d bytes of %d, which nobody reads: %v", n, much, err)
	}
}

type nobody struct{}

func (nobody) Ready(poll.Events) {}
