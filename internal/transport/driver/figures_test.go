//go:build unix

package driver

import (
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/session"
)

// BenchmarkFigures measures what Stats costs a write to a client, beside the least that a
// write can cost: the system call with which 200 bytes go to a TCP socket of this machine.
// Both are done in turn, some dozens at a time, and of each the lower quartile counts, so
// that what else the machine does shows in neither. "%delivery" is what the figures take of
// both together. A delivery does more than its system call, so that it is an upper bound.
func BenchmarkFigures(b *testing.B) {
	t, c, began := NewTally("ren", nil), new(conns.Conn), time.Now()
	by, buf := t.Open(), &session.Buffer{Bytes: make([]byte, 200), Told: session.Told{Events: 1, Oldest: began}}
	// A connection that a shard writes, as most are: it has read the clock before.
	b.Run("shard", func(b *testing.B) {
		compare(b, func() {
			by.Wait(c, false)
			t.Sent(by, buf, began)
		})
	})
	// One that a goroutine writes, which may block.
	b.Run("goroutine", func(b *testing.B) {
		compare(b, func() {
			by.Wait(c, true)
			by.Wait(c, false)
			t.Sent(by, buf, time.Now())
		})
	})
}

func compare(b *testing.B, count func()) {
	w, r := loopback(b)
	message := make([]byte, 200)
	var figures, writes []time.Duration
	for b.Loop() {
		figures = append(figures, each(1000, count))
		writes = append(writes, each(32, func() { write(b, w, message) }))
		if _, err := io.ReadFull(r, make([]byte, 32*len(message))); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(figures)
	slices.Sort(writes)
	f, wr := figures[len(figures)/4], writes[len(writes)/4]
	b.ReportMetric(float64(f), "ns/figures")
	b.ReportMetric(float64(wr), "ns/write")
	b.ReportMetric(100*float64(f)/float64(f+wr), "%delivery")
}

// each returns how long one of n calls takes.
func each(n int, f func()) time.Duration {
	began := time.Now()
	for range n {
		f()
	}
	return time.Since(began) / time.Duration(n)
}

// loopback returns both ends of a connection.
func loopback(b *testing.B) (syscall.RawConn, net.Conn) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	peer, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { peer.Close() })
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	return raw, peer
}

func write(b *testing.B, c syscall.RawConn, p []byte) {
	var n int
	var err error
	_ = c.Control(func(fd uintptr) { n, err = syscall.Write(int(fd), p) }) // fails as the write does
	if err != nil || n != len(p) {
		b.Fatal(n, err)
	}
}
