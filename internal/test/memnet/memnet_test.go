package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// dial returns both ends of a new connection.
func dial(t *testing.T, l *Listener) (client, server net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client, err := l.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

// result is what a call that runs by itself has returned.
type result struct {
	n    int
	err  error
	took time.Duration
}

func begin(f func() (int, error)) <-chan result {
	done := make(chan result, 1)
	began := time.Now()
	go func() {
		n, err := f()
		done <- result{n, err, time.Since(began)}
	}()
	return done
}

func read(c net.Conn) <-chan result {
	return begin(func() (int, error) { return c.Read(make([]byte, 8)) })
}

func write(c net.Conn, s string) <-chan result {
	return begin(func() (int, error) { return c.Write([]byte(s)) })
}

// waits fails if the call has returned by now.
func waits(t *testing.T, what string, done <-chan result) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-done:
		t.Fatalf("%s returned %+v, and should wait", what, r)
	default:
	}
}

// ends fails unless the call returns n and the error.
func ends(t *testing.T, what string, done <-chan result, n int, err error) result {
	t.Helper()
	r := <-done
	if r.n != n || !errors.Is(r.err, err) {
		t.Fatalf("%s returned %d, %v; want %d, %v", what, r.n, r.err, n, err)
	}
	return r
}

func bubble(t *testing.T, name string, f func(t *testing.T, l *Listener)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, Listen()) }) })
}

func TestConn(t *testing.T) {
	bubble(t, "a write waits until all is read", connWriteWaits)
	bubble(t, "writes do not mix", connWritesAreApart)
	bubble(t, "close", connClose)
	bubble(t, "deadlines", connDeadlines)
}

func connWriteWaits(t *testing.T, l *Listener) {
	client, server := dial(t, l)
	w := write(client, "0123456789")
	waits(t, "write", w)
	ends(t, "first read", read(server), 8, nil)
	waits(t, "write", w)
	ends(t, "second read", read(server), 2, nil)
	ends(t, "write", w, 10, nil)
}

func connWritesAreApart(t *testing.T, l *Listener) {
	client, server := dial(t, l)
	first := write(client, "aaaaaaaaaaaa")
	synctest.Wait()
	second := write(client, "bbbb")
	synctest.Wait()
	all, got := begin(func() (int, error) { return io.ReadFull(server, make([]byte, 12)) }), make([]byte, 4)
	ends(t, "the first write", first, 12, nil)
	ends(t, "read", all, 12, nil)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "bbbb" {
		t.Errorf("then read %q, %v", got, err)
	}
	ends(t, "the second write", second, 4, nil)
}

func connClose(t *testing.T, l *Listener) {
	client, server := dial(t, l)
	mine, w, theirs := read(client), write(client, "x"), read(client)
	client.Close()
	ends(t, "own read", mine, 0, net.ErrClosed)
	ends(t, "own write", w, 0, net.ErrClosed)
	ends(t, "other read", theirs, 0, net.ErrClosed)
	ends(t, "the peer's read", read(server), 0, io.EOF)
	ends(t, "the peer's write", write(server, "x"), 0, syscall.EPIPE)
	if err := client.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetDeadline returned %v", err)
	}
	if len(l.Conns()) != 1 {
		t.Error("half closed, and the listener forgot the connection")
	}
	server.Close()
	if len(l.Conns()) != 0 {
		t.Error("closed, and the listener knows the connection still")
	}
}

func connDeadlines(t *testing.T, l *Listener) {
	client, _ := dial(t, l)
	client.SetDeadline(time.Now().Add(time.Second))
	r, w := read(client), write(client, "x")
	if got := ends(t, "read", r, 0, os.ErrDeadlineExceeded); got.took != time.Second {
		t.Errorf("read waited %v", got.took)
	}
	ends(t, "write", w, 0, os.ErrDeadlineExceeded)
	ends(t, "read once more", read(client), 0, os.ErrDeadlineExceeded)
	client.SetReadDeadline(time.Now().Add(time.Second))
	client.SetReadDeadline(time.Time{})
	r = read(client)
	time.Sleep(time.Minute)
	waits(t, "read without a deadline", r)
	client.SetReadDeadline(time.Unix(1, 0))
	ends(t, "read with a deadline in the past", r, 0, os.ErrDeadlineExceeded)
}

func TestCut(t *testing.T) {
	bubble(t, "one of two", func(t *testing.T, l *Listener) {
		cut, peer := dial(t, l)
		whole, other := dial(t, l)
		r, w := read(cut), write(cut, "x")
		l.Conns()[0].Cut()
		ends(t, "read under way", r, 0, syscall.ECONNRESET)
		ends(t, "write under way", w, 0, syscall.ECONNRESET)
		ends(t, "the peer's read", read(peer), 0, syscall.ECONNRESET)
		ends(t, "the peer's write", write(peer, "x"), 0, syscall.ECONNRESET)
		w = write(whole, "x")
		ends(t, "read of the other connection", read(other), 1, nil)
		ends(t, "write of the other connection", w, 1, nil)
		if len(l.Conns()) != 1 {
			t.Errorf("%d connections are left", len(l.Conns()))
		}
	})
	bubble(t, "all, also stalled ones", func(t *testing.T, l *Listener) {
		a, _ := dial(t, l)
		b, _ := dial(t, l)
		l.Stall()
		reads := []<-chan result{read(a), read(b)}
		l.Cut()
		ends(t, "read", reads[0], 0, syscall.ECONNRESET)
		ends(t, "read", reads[1], 0, syscall.ECONNRESET)
		l.Resume()
		c, d := dial(t, l)
		w := write(c, "x")
		ends(t, "read of a new connection", read(d), 1, nil)
		ends(t, "write of a new connection", w, 1, nil)
	})
}

func TestStall(t *testing.T) {
	bubble(t, "nothing gets through, and nothing is lost", stallLosesNothing)
	bubble(t, "one of two", stallOneConnection)
	bubble(t, "deadlines work", stallKeepsDeadlines)
	bubble(t, "a peer's close is not heard", stallHidesAClose)
	bubble(t, "dialing waits", stallDialing)
}

func stallLosesNothing(t *testing.T, l *Listener) {
	client, server := dial(t, l)
	r := read(server)
	synctest.Wait()
	l.Stall()
	w := write(client, "x")
	time.Sleep(time.Hour)
	waits(t, "read", r)
	waits(t, "write", w)
	l.Resume()
	ends(t, "read", r, 1, nil)
	ends(t, "write", w, 1, nil)
}

func stallOneConnection(t *testing.T, l *Listener) {
	a, b := dial(t, l)
	c, d := dial(t, l)
	silent := l.Conns()[0]
	silent.Stall()
	stalled, w := write(a, "x"), write(c, "x")
	ends(t, "read of the other connection", read(d), 1, nil)
	ends(t, "write of the other connection", w, 1, nil)
	waits(t, "write", stalled)
	silent.Resume()
	ends(t, "read", read(b), 1, nil)
}

func stallKeepsDeadlines(t *testing.T, l *Listener) {
	client, _ := dial(t, l)
	l.Stall()
	client.SetDeadline(time.Now().Add(time.Second))
	r, w := read(client), write(client, "x")
	ends(t, "read", r, 0, os.ErrDeadlineExceeded)
	ends(t, "write", w, 0, os.ErrDeadlineExceeded)
}

func stallHidesAClose(t *testing.T, l *Listener) {
	client, server := dial(t, l)
	r, w := read(server), write(server, "x")
	l.Stall()
	own := read(client)
	synctest.Wait()
	client.Close()
	ends(t, "own read", own, 0, net.ErrClosed)
	waits(t, "the peer's read", r)
	waits(t, "the peer's write", w)
	l.Resume()
	ends(t, "the peer's read", r, 0, io.EOF)
	ends(t, "the peer's write", w, 0, syscall.EPIPE)
}

func stallDialing(t *testing.T, l *Listener) {
	l.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := l.Dial(ctx, "", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial returned %v", err)
	}
	if len(l.Conns()) != 0 {
		t.Error("a connection that was never made is open")
	}
	time.AfterFunc(time.Minute, l.Stall) // changes nothing
	time.AfterFunc(time.Hour, l.Resume)
	began := time.Now()
	dial(t, l)
	if wait := time.Since(began); wait != time.Hour {
		t.Errorf("Dial waited %v", wait)
	}
}

func TestListener(t *testing.T) {
	bubble(t, "knows its connections in the order of dialing", func(t *testing.T, l *Listener) {
		var want []*Conn
		for range 3 {
			client, _ := dial(t, l)
			want = append(want, client.(*end).conn)
		}
		if !slices.Equal(l.Conns(), want) {
			t.Error("the connections are others, or in another order")
		}
	})
	bubble(t, "that nobody accepts from", func(t *testing.T, l *Listener) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Dial(ctx, "", ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial returned %v", err)
		}
		time.AfterFunc(time.Second, func() { l.Close() })
		if _, err := l.Dial(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial returned %v", err)
		}
		if len(l.Conns()) != 0 {
			t.Error("a connection that was never accepted is open")
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept returned %v", err)
		}
	})
	bubble(t, "closed, with a connection on its way", func(t *testing.T, l *Listener) {
		go l.Dial(t.Context(), "", "")
		synctest.Wait()
		l.Close()
		l.Close() // changes nothing
		l.Cut()
		if c, err := l.Accept(); err == nil { // it may still come
			ends(t, "read", read(c), 0, syscall.ECONNRESET)
		}
		go l.Accept()
		if _, err := l.Dial(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial returned %v", err)
		}
	})
	bubble(t, "closed while stalled", func(t *testing.T, l *Listener) {
		l.Stall()
		time.AfterFunc(time.Second, func() { l.Close() })
		if _, err := l.Dial(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Dial returned %v", err)
		}
	})
}
