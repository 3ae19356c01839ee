package shard

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

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
		link, r := p.Duplex(conn, nobody{})
		defer link.Close()
		if _, is := link.(*socket); is != watched || (r != nil) != watched {
			t.Errorf("watched: %v, as a %T", watched, link)
		}
	}
	if n := strings.Count(logged.String(), "too many open files"); n != 1 {
		t.Errorf("logged %d times: %s", n, logged.String())
	}
}

type nobody struct{}

func (nobody) Ready(poll.Events) {}
