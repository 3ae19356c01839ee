package wsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/tcp"
)

// drip sends b at a rate, in bytes a second, until it is all sent or the server
// has had enough.
func (p *peer) drip(b []byte, rate int) {
	for len(b) > 0 {
		n := min(rate, len(b))
		if _, err := p.net.Write(b[:n]); err != nil {
			return
		}
		if b = b[n:]; len(b) > 0 {
			time.Sleep(time.Second)
		}
	}
}

// A message may take long as long as it makes progress.
func TestSlowMessages(t *testing.T) {
	const kb = 1 << 10
	for _, c := range []struct {
		name string
		size int // bytes
		rate int // bytes a second
	}{
		{"60 KB at 5 KB/s", 60 * kb, 5 * kb},
		{"64 KB at 2 KB/s", 64 * kb, 2 * kb},
		{"64 KB at a little more than 1 KB/s", 64 * kb, kb + 50},
		{"a small one", 500, 60},
	} {
		bubble(t, c.name, func(t *testing.T) {
			p := connect(t, defaults())
			p.serve()
			msg := strings.Repeat("x", c.size)
			p.drip(raw(text, msg), c.rate)
			if got := <-p.messages; got != msg {
				t.Errorf("%d bytes", len(got))
			}
			time.Sleep(time.Hour) // nothing has to come
			p.write(raw(text, "again"))
			if got := <-p.messages; got != "again" {
				t.Errorf("%q", got)
			}
		})
	}
	bubble(t, "in fragments", func(t *testing.T) {
		p := connect(t, defaults())
		p.serve()
		piece := strings.Repeat("x", 2<<10)
		p.write(raw(opText, piece))
		for range 10 {
			time.Sleep(7 * time.Second)
			p.write(raw(opContinue, piece))
			if len(p.messages) > 0 {
				t.Fatal("complete too soon")
			}
		}
		p.write(raw(finBit|opContinue, ""))
		if got := <-p.messages; len(got) != 11*len(piece) {
			t.Errorf("%d bytes", len(got))
		}
	})
}

// What makes no progress, or too little, ends with a reason.
func TestTooSlow(t *testing.T) {
	again := func(first, then []byte, every time.Duration) func(*peer) {
		return func(p *peer) {
			_, err := p.net.Write(first)
			for err == nil {
				time.Sleep(every)
				_, err = p.net.Write(then)
			}
		}
	}
	whole := raw(text, strings.Repeat("x", 60<<10))
	patience, overall := 10*time.Second, 74*time.Second
	for _, c := range []struct {
		name  string
		send  func(*peer)
		after time.Duration
	}{
		{"half a header", func(p *peer) { p.write(whole[:1]) }, patience},
		{"half a length", func(p *peer) { p.write(whole[:3]) }, patience},
		{"half a mask", func(p *peer) { p.write(whole[:6]) }, patience},
		{"half a ping", func(p *peer) { p.write(raw(ping, "xy")[:7]) }, patience},
		{"no payload", func(p *peer) { p.write(whole[:8]) }, patience},
		{"a byte a second", func(p *peer) { p.drip(whole, 1) }, patience},
		{"90 bytes a second", func(p *peer) { p.drip(whole, 90) }, patience},
		{"no last fragment", func(p *peer) { p.write(raw(opText, "x")) }, patience},
		{"empty fragments", again(raw(opText, "x"), raw(opContinue, ""), time.Second), patience},
		{"pings", again(raw(opText, "x"), raw(ping, ""), time.Second), patience},
		{"silence after progress", func(p *peer) { p.drip(whole[:20<<10], 5<<10) }, patience + 3*time.Second},
		{"500 bytes a second", func(p *peer) { p.drip(whole, 500) }, overall},
	} {
		bubble(t, c.name, func(t *testing.T) {
			p := connect(t, defaults())
			p.serve()
			began := time.Now()
			go c.send(p)
			go func() {
				for {
					if f, err := p.next(); err != nil || f.op == opClose {
						return
					}
				}
			}()
			err := <-p.ended
			took := time.Since(began)
			var told *CloseError
			if !errors.As(err, &told) || told.Code != 1008 || told.Reason != "message not complete in time" {
				t.Errorf("Read returned %v", err)
			}
			if took < c.after || took > c.after+lingering {
				t.Errorf("ended after %v, want %v", took, c.after)
			}
		})
	}
}

// sip reads at a rate, in bytes a second.
type sip struct {
	net.Conn
	rate int
}

func (s sip) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Conn.Read(p[:min(len(p), s.rate)])
}

// A slow reader gets a long message, and pings and their answers get through in
// the middle of it, in both directions.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		p.serve()
		p.br.Reset(sip{p.net, 1 << 12})
		sent, asked := make(chan error, 1), make(chan error, 1)
		go func() { sent <- p.conn.Write([]byte(strings.Repeat("x", 1<<20))) }()
		time.Sleep(time.Second)
		began := time.Now()
		go func() { asked <- p.conn.Ping(t.Context()) }()
		go p.net.Write(slices.Concat(raw(ping, "first"), raw(ping, "second")))
		var got, pongs int
		for {
			f, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			switch f.op {
			case opPing:
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("a ping after %v", took)
				}
				p.write(raw(finBit|opPong, string(f.data)))
			case opPong:
				if pongs++; string(f.data) != "second" {
					t.Errorf("%v", f)
				}
			default:
				got += len(f.data)
			}
			if f.fin && f.op < opClose {
				break
			}
		}
		if err := errors.Join(<-sent, <-asked); err != nil || got != 1<<20 || pongs != 1 {
			t.Errorf("%v, %d bytes, %d pongs", err, got, pongs)
		}
	})
	bubble(t, "that has stopped", func(t *testing.T) {
		p := connect(t, defaults())
		began := time.Now()
		err := p.conn.Write([]byte("x"))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != 10*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if err := p.conn.Write([]byte("x")); err == nil {
			t.Error("it writes on")
		}
	})
}

// What is perhaps on its way still gives a write more time.
func TestStalledAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		const size = 5 * tcp.Rate
		go io.CopyN(io.Discard, p.br, size+3*4) // with the headers of three fragments
		if err := p.conn.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := p.conn.Write([]byte("x"))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != 15*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// pong answers pings with what data makes of theirs.
func (p *peer) pong(data func(string) string) {
	for {
		f, err := p.next()
		if err != nil {
			return
		}
		if f.op == opPing {
			p.net.Write(raw(finBit|opPong, data(string(f.data))))
		}
	}
}

func TestPing(t *testing.T) {
	bubble(t, "answered", pingAnswered)
	for name, data := range map[string]func(string) string{
		"another": func(string) string { return "77" }, "nothing": func(string) string { return "" }, "text": func(s string) string { return "x" + s },
	} {
		bubble(t, "answered with "+name, func(t *testing.T) {
			p := connect(t, defaults())
			p.serve()
			go p.pong(data)
			if err := p.conn.Ping(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	for _, size := range []int{0, 100, 40 << 10, 100 << 20} {
		bubble(t, fmt.Sprintf("not answered after %d bytes", size), func(t *testing.T) { pingNotAnswered(t, size) })
	}
	for _, answers := range []bool{true, false} {
		bubble(t, fmt.Sprint("in the middle of a message, answered ", answers), func(t *testing.T) { pingInAMessage(t, answers) })
	}
	bubble(t, "given up", pingGivenUp)
}

// pingNotAnswered sends so many bytes before a ping that nobody answers.
func pingNotAnswered(t *testing.T, size int) {
	p := connect(t, defaults())
	p.serve()
	silent := make(chan struct{})
	go p.pong(func(s string) string {
		select {
		case <-silent:
			return "no"
		default:
			return s
		}
	})
	// What was confirmed does not count.
	for range 8 {
		if err := errors.Join(p.conn.Write(make([]byte, 1<<20)), p.conn.Ping(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.conn.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	close(silent)
	began := time.Now()
	err := p.conn.Ping(t.Context())
	want := 10*time.Second + time.Duration(min(size, 1<<20)/tcp.Rate)*time.Second
	if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != want {
		t.Errorf("%v after %v, want %v", err, took, want)
	}
}

// Nothing can come in the middle of a frame.
func pingInAMessage(t *testing.T, answers bool) {
	p := connect(t, defaults())
	p.serve()
	go io.Copy(io.Discard, p.br)
	asked, took := make(chan error, 1), time.Duration(0)
	go p.drip(raw(text, strings.Repeat("x", 60<<10)), 1<<10)
	time.Sleep(time.Second)
	go func() {
		began := time.Now()
		err := p.conn.Ping(t.Context())
		took = time.Since(began)
		asked <- err
	}()
	<-p.messages
	if answers {
		p.write(raw(finBit|opPong, "1"))
	}
	if err := <-asked; (err == nil) != answers || took < 59*time.Second || took > 70*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func pingAnswered(t *testing.T) {
	p := connect(t, defaults())
	p.serve()
	go p.pong(func(s string) string { return s })
	for range 3 {
		if err := p.conn.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func pingGivenUp(t *testing.T) {
	p := connect(t, defaults())
	p.serve()
	go io.Copy(io.Discard, p.br)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	time.AfterFunc(time.Second, func() { p.net.Close() })
	if err := p.conn.Ping(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	for _, c := range []struct {
		name  string
		peer  func(p *peer)
		after time.Duration
	}{
		{"answered", func(p *peer) { p.closed(true) }, 0},
		{"answered late", func(p *peer) { time.Sleep(3 * time.Second); p.closed(true) }, 3 * time.Second},
		{"not answered", func(p *peer) { p.closed(false) }, 5 * time.Second},
		{"not read", func(*peer) {}, 10 * time.Second},
		{"the connection breaks", func(p *peer) { p.next(); p.net.Close() }, 0},
		{"answered after other frames", func(p *peer) {
			go p.net.Write(slices.Concat(raw(text, "x"), raw(ping, ""), raw(opText, strings.Repeat("x", 40<<10))))
			p.closed(true)
		}, 0},
		{"a flood", func(p *peer) {
			go func() {
				for {
					if _, err := p.net.Write(raw(ping, "")); err != nil {
						return
					}
				}
			}()
			p.closed(false)
		}, time.Second},
	} {
		bubble(t, c.name, func(t *testing.T) {
			p := connect(t, defaults())
			go p.conn.Discard()
			began := time.Now()
			go c.peer(p)
			p.conn.Close(1012, "restart")
			if took := time.Since(began); took != c.after {
				t.Errorf("Close took %v, want %v", took, c.after)
			}
			p.conn.Close(1000, "")
			if err := p.conn.Write([]byte("x")); err == nil {
				t.Error("written after the close frame")
			}
			if took := time.Since(began); took != c.after {
				t.Errorf("the second Close took %v", took-c.after)
			}
		})
	}
	bubble(t, "with a message under way", closeDuringAMessage)
	bubble(t, "dropped", dropped)
}

func closeDuringAMessage(t *testing.T) {
	p := connect(t, defaults())
	p.serve()
	sent := make(chan error, 1)
	go func() { sent <- p.conn.Write(make([]byte, 1<<20)) }()
	synctest.Wait()
	go p.conn.Close(1000, "")
	synctest.Wait() // for its turn
	if code, after := p.closed(true); code != 1000 || after != 0 {
		t.Errorf("closed with %d, and the end %v later", code, after)
	}
	if err := <-sent; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write returned %v", err)
	}
}

func dropped(t *testing.T) {
	p := connect(t, defaults())
	p.serve()
	sent := make(chan error, 1)
	go func() { sent <- p.conn.Write(make([]byte, 1<<20)) }()
	synctest.Wait()
	p.conn.Drop()
	if err := errors.Join(<-sent, <-p.ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// A peer that stops within a frame is told that it was too slow, wherever that is.
func TestStalledWithinAFrame(t *testing.T) {
	for _, size := range []int{5, 200, 70 << 10} {
		frame := raw(text, strings.Repeat("x", size))
		for n := range 16 { // the header and a little more
			if n == 0 || n >= len(frame) {
				continue
			}
			bubble(t, fmt.Sprint(n, " bytes of ", len(frame)), func(t *testing.T) {
				opts := defaults()
				opts.ReadLimit = 1 << 20
				p := connect(t, opts)
				p.serve()
				began := time.Now()
				p.write(frame[:n])
				if code, _ := p.closed(false); code != tooMuch || time.Since(began) < opts.Patience {
					t.Errorf("closed with %d after %v", code, time.Since(began))
				}
			})
		}
	}
}

// A peer that has broken a rule has time to read why, and to answer.
func TestViolatorMayAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		p.serve()
		p.write(raw(finBit|opBinary, "x"))
		if code, after := p.closed(false); code != unsupported || after != closeTime {
			t.Errorf("closed with %d, and cut %v later", code, after)
		}
	})
}
