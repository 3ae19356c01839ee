package poll

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// told is a listener that keeps what it is told.
type told chan Events

func (t told) Ready(ev Events) { t <- ev }

// want waits until the events were told, whatever others are.
func (t told) want(tb testing.TB, events Events) {
	tb.Helper()
	late := time.After(patience)
	for {
		select {
		case ev := <-t:
			if ev&events == events {
				return
			}
		case <-late:
			tb.Fatalf("%v was not told", events)
		}
	}
}

func start(t testing.TB) *Poller {
	t.Helper()
	var goroutines sync.WaitGroup
	p, err := New(goroutines.Go)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); goroutines.Wait() })
	return p
}

// connect returns both ends of a connection.
func connect(t testing.TB) (here, there *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialed, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	return accepted.(*net.TCPConn), dialed.(*net.TCPConn)
}

func (p *Poller) watch(t testing.TB, c *net.TCPConn, ask Events) (*Watch, told) {
	t.Helper()
	to := make(told, 1024)
	w, err := p.Watch(c, ask, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w, to
}

func TestGone(t *testing.T) {
	p := start(t)
	for name, leave := range map[string]func(c *net.TCPConn){
		"closed":      func(c *net.TCPConn) { c.Close() },
		"half closed": func(c *net.TCPConn) { c.CloseWrite() },
		"reset":       func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"with unread bytes": func(c *net.TCPConn) {
			c.Write([]byte("GET / HTTP/1.1\r\n"))
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := connect(t)
			_, to := p.watch(t, here, 0)
			leave(there)
			to.want(t, Gone)
		})
	}
	t.Run("before", func(t *testing.T) {
		here, there := connect(t)
		there.Close()
		_, to := p.watch(t, here, 0)
		to.want(t, Gone)
	})
}

// Readable is told for what came before it was asked for, after, and again.
func TestReadable(t *testing.T) {
	p := start(t)
	here, there := connect(t)
	w, to := p.watch(t, here, 0)
	say := func() {
		if _, err := there.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	say()
	for range 2 { // what was not read is told again
		if err := w.Ask(Readable); err != nil {
			t.Fatal(err)
		}
		to.want(t, Readable)
	}
	if _, err := io.ReadFull(here, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	say()
	to.want(t, Readable)
	if err := w.Spare(Readable); err != nil {
		t.Fatal(err)
	}
	say()
	there.Close()
	for ev := Events(0); ev&Gone == 0; {
		select {
		case ev = <-to:
			if ev&Readable != 0 {
				t.Errorf("told %v after Spare", ev)
			}
		case <-time.After(patience):
			t.Fatal("Gone was not told")
		}
	}
}

// Writable is told each time that a full connection is no longer full.
func TestWritable(t *testing.T) {
	p := start(t)
	here, there := connect(t)
	_, to := p.watch(t, here, Writable)
	to.want(t, Writable)
	raw, err := here.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		sent := fillUp(t, raw)
		if _, err := io.CopyN(io.Discard, there, int64(sent)); err != nil {
			t.Fatal(err)
		}
		to.want(t, Writable)
		for len(to) > 0 {
			<-to
		}
	}
}

// A watch that has ended is told nothing, and its place goes to another one.
func TestStop(t *testing.T) {
	p := start(t)
	here, there := connect(t)
	w, to := p.watch(t, here, 0)
	w.Stop()
	w.Stop()
	other, its := connect(t)
	w2, to2 := p.watch(t, other, 0)
	if w2.slot != w.slot || w2.serial == w.serial {
		t.Errorf("the next watch has slot %d and serial %d after %d and %d", w2.slot, w2.serial, w.slot, w.serial)
	}
	if p.find(w.slot, w.serial) != nil {
		t.Error("an event of the one that has ended would be told to the other")
	}
	there.Close()
	its.Close()
	to2.want(t, Gone)
	if len(to) > 0 {
		t.Errorf("told %v after Stop", <-to)
	}
}

func TestClosed(t *testing.T) {
	p := start(t)
	here, _ := connect(t)
	w, _ := p.watch(t, here, 0)
	p.Close()
	p.Close()
	if err := w.Ask(Readable); err != ErrClosed {
		t.Errorf("Ask after Close: %v", err)
	}
	w.Stop()
	if _, err := p.Watch(here, 0, make(told, 1)); err != ErrClosed {
		t.Errorf("Watch after Close: %v", err)
	}
}
