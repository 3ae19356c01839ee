package shard

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/memnet"
	"github.com/maravilla-realtime/realtime/internal/transport/poll"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// sender is a task that writes random pieces to a link, until it has written most bytes
// or the peer is gone.
type sender struct {
	task *Task
	link Link
	gone atomic.Bool
	full chan struct{} // closed when it was full
	once sync.Once

	most int
	rest []byte // of a piece
	sum  hash.Hash
	err  error
	done chan struct{} // closed when it has ended
}

func (s *sender) Ready(ev poll.Events) {
	if ev&poll.Gone != 0 {
		s.gone.Store(true)
	}
	s.task.Wake()
}

func (s *sender) Run() (time.Time, bool) {
	if s.gone.Load() {
		s.err = io.EOF
	}
	if s.err == nil && len(s.rest) == 0 && s.most > 0 {
		begin := mathrand.N(len(noise) / 2)
		s.rest = noise[begin:][:min(1+mathrand.N(len(noise)/2), s.most)]
		s.most -= len(s.rest)
		s.sum.Write(s.rest)
	}
	if s.err == nil && len(s.rest) > 0 {
		n, err := s.link.Write(s.rest)
		s.rest, s.err = s.rest[n:], err
		if len(s.rest) == 0 {
			s.task.Wake() // in the next turn it goes on
			return time.Time{}, true
		}
		s.once.Do(func() { close(s.full) })
		if err == nil {
			return time.Time{}, true
		}
	}
	s.link.Close()
	close(s.done)
	return time.Time{}, false
}

// noise is what they write.
var noise = func() []byte {
	b := make([]byte, 200_000)
	for i := range b {
		b[i] = byte(mathrand.Uint32())
	}
	return b
}()

func (p *Pool) send(c net.Conn, most int) *sender {
	s := &sender{most: most, sum: sha256.New(), full: make(chan struct{}), done: make(chan struct{})}
	s.task = p.NewTask(s)
	s.link = p.Link(c, s)
	s.task.Start()
	return s
}

func tcp(t testing.TB) (here, there net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if there, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if here, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// wrapped hides what a connection is.
type wrapped struct{ net.Conn }

func wrappedTCP(t testing.TB) (here, there net.Conn) {
	here, there = tcp(t)
	return wrapped{here}, there
}

func memory(t testing.TB) (here, there net.Conn) {
	t.Helper()
	ln := memnet.Listen()
	defer ln.Close()
	dialed := make(chan net.Conn)
	go func() {
		c, _ := ln.Dial(context.Background(), "", "") // nil is noticed below
		dialed <- c
	}()
	here, err := ln.Accept()
	if there = <-dialed; err != nil || there == nil {
		t.Fatal("no connection", err)
	}
	return here, there
}

// kinds are the connections that links are made of.
var kinds = []struct {
	name string
	pair func(testing.TB) (here, there net.Conn)
}{{"socket", tcp}, {"wrapped", wrappedTCP}, {"memory", memory}}

// Everything arrives in order, at readers that are slow in different ways, and some that
// do not read at all make nobody wait.
func TestLink(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			p := pool(t, 2)
			var stalled []*sender
			for range 4 {
				here, there := kind.pair(t)
				stalled = append(stalled, p.send(here, 64<<20))
				defer there.Close()
			}
			var readers sync.WaitGroup
			for i := range 8 {
				here, there := kind.pair(t)
				const most = 2 << 20
				s := p.send(here, most)
				readers.Go(func() {
					sum, buf, got := sha256.New(), make([]byte, 1+mathrand.N(1<<(10+i))), 0
					for {
						n, err := there.Read(buf)
						sum.Write(buf[:n])
						got += n
						if errors.Is(err, io.EOF) {
							break
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
					<-s.done
					if got != most || string(sum.Sum(nil)) != string(s.sum.Sum(nil)) {
						t.Errorf("reader %d got %d bytes of %d, or others", i, got, most)
					}
				})
			}
			readers.Wait()
			for i, s := range stalled {
				select {
				case <-s.full:
				case <-time.After(patience):
					t.Errorf("the connection %d, which nobody reads, was never full", i)
				}
				s.Ready(poll.Gone)
				<-s.done
			}
		})
	}
}

// A peer that goes is noticed while nothing is written to it, and what it has said before
// does not hide it.
func TestLinkGone(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			p := pool(t, 1)
			here, there := kind.pair(t)
			s := p.send(here, 1)
			if _, err := io.ReadFull(there, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			<-s.done // which has closed it
			here, there = kind.pair(t)
			idle := &sender{done: make(chan struct{}), sum: sha256.New()}
			idle.task = p.NewTask(runner(func() (time.Time, bool) {
				if !idle.gone.Load() {
					return time.Time{}, true
				}
				idle.link.Close()
				close(idle.done)
				return time.Time{}, false
			}))
			idle.link = p.Link(here, idle)
			idle.task.Start()
			if _, err := there.Write([]byte("what nobody wants")); err != nil {
				t.Fatal(err)
			}
			there.Close()
			select {
			case <-idle.done:
			case <-time.After(patience):
				t.Fatal("nobody has noticed")
			}
		})
	}
}

// In virtual time, a stalled connection in memory is written when it goes on, and
// another one meanwhile.
func TestLinkInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, 1)
		here, there := memory(t)
		slow := p.send(here, 1000)
		synctest.Wait()
		time.Sleep(time.Hour)
		here, other := memory(t)
		quick := p.send(here, 1000)
		if n, err := io.Copy(io.Discard, other); n != 1000 || err != nil {
			t.Errorf("the other got %d bytes: %v", n, err)
		}
		<-quick.done
		select {
		case <-slow.done:
			t.Error("done without a reader")
		default:
		}
		if n, err := io.Copy(io.Discard, there); n != 1000 || err != nil {
			t.Errorf("the slow one got %d bytes: %v", n, err)
		}
		<-slow.done
		there.Close()
		other.Close()
	})
}

// A write allocates nothing, whether the kernel takes it or not.
func TestSocketAllocates(t *testing.T) {
	p := pool(t, 1)
	here, there := tcp(t)
	go io.Copy(io.Discard, there)
	woken := make(listener, 1)
	link := p.Link(here, woken)
	defer link.Close()
	msg := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := link.Write(msg); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("a write allocates %v times", n)
	}
}

// A connection that is read without blocking says when there is something again, and what
// ends it. Of one that is not, nobody else has to read it.
func TestDuplex(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			p := pool(t, 1)
			here, there := kind.pair(t)
			told := make(listener, 1)
			link, r, at := p.Duplex(here, told)
			defer link.Close()
			if isRead := kind.name == "memory" || kind.name == "socket" && runtime.GOOS == "linux"; (r != nil) != isRead {
				t.Fatalf("it has the reader %v", r)
			}
			if at != (r != nil && kind.name == "socket") {
				t.Errorf("it may be read by who tells: %v", at)
			}
			if r == nil {
				return
			}
			buf, got := make([]byte, 3), ""
			if n, err := r.TryRead(buf); n != 0 || err != nil {
				t.Errorf("of nothing it reads %d bytes: %v", n, err)
			}
			read := func(want string, end error) {
				t.Helper()
				late := time.After(patience)
				for {
					n, err := r.TryRead(buf)
					switch got += string(buf[:n]); {
					case err != nil || end == nil && got == want:
						if err != end || got != want {
							t.Errorf("it reads %q: %v", got, err)
						}
						return
					case n > 0:
						continue
					}
					select {
					case <-told:
					case <-late:
						t.Fatalf("nobody tells that there is more than %q", got)
					}
				}
			}
			go there.Write([]byte("hello"))
			read("hello", nil)
			go there.Write([]byte(" you"))
			read("hello you", nil)
			there.Close()
			read("hello you", io.EOF)
		})
	}
}

type listener chan struct{}

func (l listener) Ready(poll.Events) {
	select {
	case l <- struct{}{}:
	default:
	}
}

// lingering is a connection that waits when it is closed, as TLS does where the peer takes
// nothing.
type lingering struct {
	net.Conn
	until chan struct{}
}

func (c lingering) Close() error {
	<-c.until
	return c.Conn.Close()
}

// A connection that is not closed at once makes no other one wait.
func TestCloseDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := memory(t)
		defer there.Close()
		var running sync.WaitGroup
		p := New(1, running.Go, slog.New(slog.DiscardHandler))
		until := make(chan struct{})
		one := p.send(lingering{here, until}, 0)
		select {
		case <-one.done:
		case <-time.After(patience):
			t.Error("the shard waits")
		}
		close(until)
		p.Close()
		running.Wait()
	})
}
