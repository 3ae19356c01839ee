package wsconn

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script is a connection on which pieces come, each after a read of nothing.
type script struct {
	pieces []string
	err    error
}

func (s *script) TryRead(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		err := s.err
		s.err = nil // it is told once
		return 0, err
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

// clientFrame is a frame of a client.
func clientFrame(op byte, payload string) string {
	mask := [4]byte{1, 2, 3, 4}
	p := []byte(payload)
	unmask(p, mask, 0)
	frame := append(appendHeader(nil, op, true, len(p)), mask[:]...)
	frame[1] |= maskBit
	return string(append(frame, p...))
}

// One pong is taken; what else comes, with one or without, is left to Read, and nothing
// of it is lost.
func TestTryPong(t *testing.T) {
	const asked = 7
	pong := clientFrame(opPong, strconv.Itoa(asked))
	var broken = errors.New("broken")
	cases := map[string]struct {
		comes    string
		err      error
		flooded  bool
		taken    bool // as a pong, or nothing
		answered bool
	}{
		"nothing":                 {taken: true},
		"a pong":                  {comes: pong, taken: true, answered: true},
		"one that is late":        {comes: clientFrame(opPong, "6"), taken: true},
		"one of nothing":          {comes: clientFrame(opPong, ""), taken: true},
		"one of the largest":      {comes: clientFrame(opPong, strconv.FormatUint(1<<64-1, 10)), taken: true},
		"the longest one":         {comes: clientFrame(opPong, string(make([]byte, maxControl))), taken: true},
		"many texts":              {comes: strings.Repeat(clientFrame(opText, "text"), 100)},
		"part of one":             {comes: pong[:4]},
		"one byte":                {comes: pong[:1]},
		"two":                     {comes: pong + pong},
		"one, and part of a text": {comes: pong + clientFrame(opText, "text")[:3]},
		"a text":                  {comes: clientFrame(opText, "text")},
		"a ping":                  {comes: clientFrame(opPing, "7")},
		"a close":                 {comes: clientFrame(opClose, "")},
		"one without a mask":      {comes: string(controlFrame(opPong, []byte("7")))},
		"one of two, and more":    {comes: "\x8a\x05" + strings.Repeat("x", 4+5)}, // without a mask
		"one that goes on":        {comes: string(rune(opPong)) + pong[1:]},
		"one with a long length":  {comes: "\x8a\xfe" + strings.Repeat("x", 4+126)},
		"one with a longer one":   {comes: "\x8a\xff" + strings.Repeat("x", 4+127)},
		"one with reserved bits":  {comes: "\xca" + pong[1:]},
		"one too many":            {comes: pong, flooded: true},
		"the end":                 {err: io.EOF},
		"an error":                {err: broken},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conn := &Conn{opts: Options{Admit: func() bool { return !c.flooded }}, shared: &Sender{wake: func() { t.Error("the writer is woken") }}}
			conn.src.idle = func() error { return nil }
			conn.asked.Store(asked)
			s := &script{err: c.err}
			if c.comes != "" {
				s.pieces = []string{c.comes}
			}
			conn.src.try = s
			if got := conn.TryPong(); got != c.taken {
				t.Errorf("taken: %v", got)
			}
			if got := conn.shared.answered.Load() == asked; got != c.answered {
				t.Errorf("answered: %v", got)
			}
			if !c.taken && conn.TryPong() {
				t.Error("it goes on though something is kept for Read")
			}
			rest, err := io.ReadAll(&untilIdle{&conn.src})
			if want := c.comes; c.taken && len(rest) > 0 || !c.taken && string(rest) != want || !errors.Is(err, c.err) && c.err != io.EOF {
				t.Errorf("Read gets %q, %v; %q came", rest, err, want)
			}
		})
	}
}

// Where something has been read already, or what comes is read in the usual way, TryPong
// takes nothing.
func TestTryPongLeavesToRead(t *testing.T) {
	pong := clientFrame(opPong, "7")
	begun := &Conn{opts: Options{Admit: func() bool { return true }}, br: bufio.NewReader(nil)}
	s := &script{pieces: []string{pong}}
	begun.src.try = s
	usual := &Conn{opts: Options{Admit: func() bool { return true }}}
	for name, conn := range map[string]*Conn{"a message is being read": begun, "there is no Reader": usual} {
		if conn.TryPong() {
			t.Errorf("%s: something is taken", name)
		}
	}
	if len(s.pieces) != 1 {
		t.Error("it has read what follows the beginning of a message")
	}
}

// untilIdle ends where there is nothing to read.
type untilIdle struct{ *source }

func (u *untilIdle) Read(p []byte) (int, error) {
	n, err := u.source.Read(p)
	if err == ErrIdle {
		err = io.EOF
	}
	return n, err
}

// A pong that is taken answers the ping when the sender looks.
func TestTryPongAnswers(t *testing.T) {
	var out bytes.Buffer
	conn := &Conn{opts: Options{Admit: func() bool { return true }, Patience: time.Second, WriteTime: time.Second}}
	s := &script{}
	var sender Sender
	conn.shared, conn.src.try = &sender, s
	conn.src.idle = func() error { return nil }
	sender.conn, sender.link, sender.op = conn, link{&out}, opText
	now := time.Now()
	for range 2 {
		sender.Ping()
		if all, err := sender.Send(now); !all || err != nil {
			t.Fatal(all, err)
		}
		s.pieces = []string{clientFrame(opPong, out.String()[2:]), clientFrame(opPong, "0"), clientFrame(opPong, "17")}
		out.Reset()
		for range len(s.pieces) { // what a peer says beside it takes nothing back
			if !conn.TryPong() {
				t.Error("the pong is not taken")
			}
		}
		if now = sender.PongBy(); !sender.Alive(now) || !sender.PongBy().IsZero() {
			t.Error("the ping is not answered")
		}
	}
	sender.Ping()
	if _, err := sender.Send(now); err != nil || sender.Alive(sender.PongBy()) {
		t.Errorf("a ping without an answer is answered: %v", err)
	}
}

type link struct{ io.Writer }

// Who discards what comes on a connection that has rested waits for the close frame of the
// peer.
func TestDiscardWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		if err := p.conn.Share(new(Sender), &trickle{}, p.conn.net.(Reader), func() {}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.conn.Read(); err != ErrIdle {
			t.Fatal(err)
		}
		p.conn.Rest()
		go p.conn.Discard()
		synctest.Wait()
		if p.conn.heard.isClosed() || p.conn.deaf.isClosed() {
			t.Error("it does not wait")
		}
		p.write([]byte(clientFrame(opText, "too late") + clientFrame(opClose, "")))
		<-p.conn.Deaf()
		if !p.conn.heard.isClosed() {
			t.Error("the close frame is not heard")
		}
	})
}

// A pong that answers no ping is not kept: it would take the place of one that does.
func TestPongOfNoPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t, defaults())
		p.serve()
		for _, payload := range []string{"", "no number", "0", "1", "99999999999999999999"} {
			p.write(raw(finBit|opPong, payload))
			synctest.Wait()
			if len(p.conn.answered) > 0 {
				t.Fatalf("%q is taken for the answer to a ping", payload)
			}
		}
	})
}
