package shard

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

// scripted is a connection that does what a test says.
type scripted struct {
	net.Conn
	read, write func([]byte) (int, error)
	closed      chan struct{}
}

func (c *scripted) Read(p []byte) (int, error)  { return c.read(p) }
func (c *scripted) Write(p []byte) (int, error) { return c.write(p) }

func (c *scripted) Close() error {
	close(c.closed)
	return nil
}

// A pipe writes once what it is given, however often it is asked meanwhile, and then says
// how that ended.
func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken, end, writes := errors.New("broken"), make(chan struct{}), 0
		conn := &scripted{write: func([]byte) (int, error) {
			writes++
			<-end
			return 3, broken
		}}
		p, told := pool(t, 1), make(listener, 1)
		link, _, _ := p.Duplex(conn, told)
		msg := []byte("hello")
		for range 3 {
			if n, err := link.Write(msg); n != 0 || err != nil {
				t.Errorf("%d, %v while it writes", n, err)
			}
			synctest.Wait()
		}
		close(end)
		<-told
		if n, err := link.Write(msg); n != 3 || err != broken || writes != 1 {
			t.Errorf("%d, %v after %d writes", n, err, writes)
		}
		if n, err := link.Write(msg[3:]); n != 0 || err != nil {
			t.Errorf("%d, %v for the rest", n, err)
		}
		if <-told; writes != 2 {
			t.Errorf("%d writes", writes)
		}
	})
}

// A pipe that is closed ends the write that blocks.
func TestPipeClosedWhileItWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &scripted{closed: make(chan struct{})}
		conn.write = func([]byte) (int, error) {
			<-conn.closed
			return 0, net.ErrClosed
		}
		p, told := pool(t, 1), make(listener, 1)
		link, _, _ := p.Duplex(conn, told)
		if _, err := link.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		link.Close()
		select {
		case <-conn.closed:
		default:
			t.Error("it is not closed")
			close(conn.closed)
		}
		<-told
	})
}

// A peer that says a lot that nobody wants is not listened to any longer, nor is it gone.
func TestUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := 0, make(listener, 1)
		conn := &scripted{closed: make(chan struct{}), read: func(p []byte) (int, error) {
			if read += len(p); read > 2*mostUnwanted {
				return 0, net.ErrClosed
			}
			return len(p), nil
		}}
		link := pool(t, 1).Link(conn, told)
		synctest.Wait()
		if read != mostUnwanted || len(told) != 0 {
			t.Errorf("%d bytes are read, and it is told of %d times", read, len(told))
		}
		link.Close()
		<-conn.closed
	})
}
