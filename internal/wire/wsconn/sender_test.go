package wsconn

import (
	"bytes"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// trickle is a link that takes some of what it is given.
type trickle struct {
	most int // at once; 0: nothing
	got  bytes.Buffer
}

func (l *trickle) Write(p []byte) (int, error) {
	n := min(mathrand.N(l.most+1), len(p))
	l.got.Write(p[:n])
	return n, nil
}

func (p *peer) share(link Link) *Sender {
	p.t.Helper()
	s := new(Sender)
	if err := p.conn.Share(s, link, nil, func() {}); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// Messages of all kinds and lengths arrive, with control frames between their frames and
// not in them, whatever the link takes at a time.
func TestSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, link := connect(t, defaults()), &trickle{}
		s := p.share(link)
		var want []string
		pongs, pings := 0, 0
		text := func(n int) []byte {
			msg := []byte(strings.Repeat(string(rune('a'+len(want)%26)), n))
			want = append(want, string(msg))
			return msg
		}
		for range 300 {
			link.most = []int{1 << 10, 1 << 17}[mathrand.N(2)]
			n := []int{1, 125, 126, Fragment, Fragment + 1, 3*Fragment + 5, 1 << 16}[mathrand.N(7)]
			var withRoom, frame, part []byte
			if mathrand.N(2) == 0 {
				withRoom = append(make([]byte, Room), text(n)...)
			} else if mathrand.N(2) == 0 {
				frame = Frame(text(n))
			}
			if mathrand.N(3) == 0 {
				part = text(n)
			}
			s.Put(withRoom, frame, part)
			for all := false; !all; {
				if mathrand.N(8) == 0 {
					p.conn.owePong([]byte("pong"))
					pongs++
				}
				if mathrand.N(64) == 0 {
					s.Ping()
				}
				var err error
				if all, err = s.Send(time.Now()); err != nil {
					t.Fatal(err)
				}
				if !s.PongBy().IsZero() {
					pings++
					s.answered.Store(p.conn.asked.Load())
					if !s.Alive(time.Now()) || !s.PongBy().IsZero() {
						t.Fatal("it has answered")
					}
				}
			}
		}
		p.br.Reset(&link.got)
		missing, gotPings, gotPongs := p.readAll(want)
		pings -= gotPings
		pongs -= gotPongs
		if missing > 0 || pings != 0 || pongs < 0 { // of several pings only the last one is answered
			t.Errorf("%d messages, %d pings and %d pongs are missing", missing, pings, pongs)
		}
	})
}

// readAll reads to the end. It wants messages in this order, and counts the others.
func (p *peer) readAll(want []string) (missing, pings, pongs int) {
	p.t.Helper()
	var msg []byte
	for {
		f, err := p.next()
		if err == io.EOF {
			return len(want), pings, pongs
		}
		switch {
		case err != nil || len(f.data) > Fragment:
			p.t.Fatalf("%v, %d bytes", err, len(f.data))
		case f.op == opPong:
			pongs++
		case f.op == opPing:
			pings++
		case (f.op == opText) != (msg == nil):
			p.t.Fatalf("a frame of type %d in a message of %d bytes", f.op, len(msg))
		default:
			if msg = append(msg, f.data...); f.fin {
				if string(msg) != want[0] {
					p.t.Fatalf("got %d bytes of %.1q, want %d of %.1q", len(msg), msg, len(want[0]), want[0])
				}
				msg, want = nil, want[1:]
			}
		}
	}
}

// counted is a link that takes everything.
type counted struct{ writes int }

func (l *counted) Write(p []byte) (int, error) {
	l.writes++
	return len(p), nil
}

// The message of a heartbeat and its ping are one write.
func TestSenderHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := &counted{}
		s := connect(t, defaults()).share(link)
		s.Ping()
		s.Put(append(make([]byte, Room), "ping"...), nil, nil)
		if all, err := s.Send(time.Now()); !all || err != nil || link.writes != 1 || s.PongBy().IsZero() {
			t.Errorf("%v, %v, after %d writes", all, err, link.writes)
		}
	})
}

// A peer that takes nothing, or does not answer, is given up in time.
func TestSenderDeadlines(t *testing.T) {
	bubble(t, "nothing is taken", func(t *testing.T) {
		link := &trickle{}
		s := connect(t, defaults()).share(link)
		s.Put(nil, Frame([]byte("x")), nil)
		began := time.Now()
		if all, err := s.Send(began); all || err != nil || s.By().Sub(began) != defaults().WriteTime {
			t.Errorf("%v, %v, until %v", all, err, s.By().Sub(began))
		}
		if _, err := s.Send(s.By().Add(-1)); err != nil {
			t.Errorf("too soon: %v", err)
		}
		if _, err := s.Send(s.By()); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "no pong", func(t *testing.T) {
		link := &trickle{most: 1 << 20}
		p := connect(t, defaults())
		s := p.share(link)
		s.Ping()
		for all := false; !all; {
			all, _ = s.Send(time.Now())
		}
		by := s.PongBy()
		if time.Until(by) != defaults().Patience || !s.Alive(by.Add(-1)) {
			t.Errorf("until %v", by)
		}
		p.conn.receiving.Store(true) // no pong can come in the middle of a frame
		if !s.Alive(by) || s.PongBy() != by.Add(defaults().Patience) {
			t.Errorf("given up in the middle of a message, until %v", s.PongBy())
		}
		p.conn.receiving.Store(false)
		if s.Alive(s.PongBy()) {
			t.Error("not given up")
		}
	})
}

// What was begun is finished by blocking calls, and nothing follows the answer to a close
// frame.
func TestSenderFinish(t *testing.T) {
	msg := strings.Repeat("x", 3*Fragment)
	begin := func(t *testing.T) (*peer, *Sender) {
		p, link := connect(t, defaults()), &trickle{most: 100}
		s := p.share(link)
		s.Put(append(make([]byte, Room), msg...), nil, []byte("part"))
		for link.got.Len() == 0 {
			if _, err := s.Send(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		for !s.Settle() {
		}
		if n := link.got.Len(); n != Room+Fragment {
			t.Fatalf("%d bytes were settled", n)
		}
		return p, s
	}
	bubble(t, "goes on", func(t *testing.T) {
		p, s := begin(t)
		go p.conn.Discard()
		finished := make(chan error, 1)
		go func() { finished <- s.Finish(); p.conn.Close(1000, "") }()
		for want := len(msg) - Fragment; want > 0; want -= Fragment {
			if f, err := p.next(); err != nil || f.op != opContinue || len(f.data) != Fragment {
				t.Fatal(f.op, len(f.data), err)
			}
		}
		p.want(opText, "part")
		if code, _ := p.closed(true); code != 1000 {
			t.Errorf("closed with %d", code)
		}
		if err := <-finished; err != nil {
			t.Error(err)
		}
	})
	bubble(t, "nothing is to be said but the end", func(t *testing.T) {
		p, _ := begin(t)
		go p.conn.Discard()
		go p.conn.Close(1011, "")
		if code, _ := p.closed(true); code != 1011 {
			t.Errorf("closed with %d", code)
		}
	})
	bubble(t, "after a close frame", func(t *testing.T) {
		p, s := begin(t)
		read := make(chan error, 1)
		go func() { _, err := p.conn.Read(); read <- err }()
		p.write(closing(4000, "bye"))
		if told := new(CloseError); !errors.As(<-read, &told) || !told.Peer {
			t.Error("no close frame was read")
		}
		go func() { s.Finish(); p.conn.Close(1000, "") }()
		if code, _ := p.closed(false); code != 4000 {
			t.Errorf("answered with %d", code)
		}
	})
}
