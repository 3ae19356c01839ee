package wsconn

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/tcp"
)

// full is a link that takes so many bytes more, or fails.
type full struct {
	room, writes int
	got          bytes.Buffer
	err          error
}

func (l *full) Write(p []byte) (int, error) {
	l.writes++
	n := min(l.room, len(p))
	l.room -= n
	l.got.Write(p[:n])
	return n, l.err
}

// What the peer takes in time is forgiven: the next frame has all its time, and a full
// link is tried once.
func TestSenderTimeBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := &full{room: 3}
		s := connect(t, defaults()).share(link)
		send := func(want bool) {
			t.Helper()
			link.writes = 0
			if all, err := s.Send(time.Now()); all != want || err != nil || !want && link.writes > 2 || s.By().IsZero() != want {
				t.Errorf("%v, %v, after %d writes, until %v", all, err, link.writes, s.By())
			}
		}
		for range 3 {
			s.Put(nil, Frame([]byte("message")), nil)
			send(false)
			if wait := time.Until(s.By()); wait != defaults().WriteTime {
				t.Errorf("the peer has %v", wait)
			}
			time.Sleep(9 * time.Second)
			send(false)
			link.room = 100
			send(true)
			link.room = 3
			time.Sleep(time.Minute)
		}
	})
}

// Nothing is sent that nobody asked for: no ping beside a message, no second ping while
// the first one waits, no message of nothing.
func TestSenderSendsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := &full{room: 1 << 20}
		s := connect(t, defaults()).share(link)
		send := func(want string) {
			t.Helper()
			link.got.Reset()
			if all, err := s.Send(time.Now()); !all || err != nil || link.got.String() != want {
				t.Errorf("%v, %v: sent %q, want %q", all, err, link.got.String(), want)
			}
		}
		send("")
		s.Put(make([]byte, Room), nil, nil)
		send("")
		s.Put(append(make([]byte, Room), "own"...), nil, nil)
		send("\x81\x03own")
		if !s.PongBy().IsZero() || !s.Alive(time.Now().Add(time.Hour)) {
			t.Error("it waits for the answer to a ping that was not sent")
		}
		s.Ping()
		s.Ping()
		send("\x89\x011")
		by := s.PongBy()
		time.Sleep(time.Second)
		s.Ping()
		send("")
		if s.PongBy() != by {
			t.Error("the peer has longer for its answer")
		}
		s.answered.Store(1)
		if !s.Alive(time.Now()) {
			t.Error("it has answered")
		}
		s.Ping()
		s.Put(nil, Frame([]byte("frame")), nil)
		send("\x81\x05frame\x89\x012")
	})
}

// A link that fails ends it, at once.
func TestSenderFails(t *testing.T) {
	broken := errors.New("broken")
	synctest.Test(t, func(t *testing.T) {
		link := &full{}
		p := connect(t, defaults())
		s := p.share(link)
		s.Put(nil, Frame([]byte("frame")), nil)
		if all, err := s.Send(time.Now()); all || err != nil {
			t.Fatal(all, err)
		}
		if s.Settle() {
			t.Error("it is settled though the link has taken nothing")
		}
		link.err = broken
		if all, err := s.Send(time.Now()); all || err != broken {
			t.Errorf("%v, %v", all, err)
		}
		if !s.Settle() {
			t.Error("it waits for a link that has failed")
		}
		s.Put(append(make([]byte, Room), "more"...), nil, nil)
		p.net.Close()
		if err := s.Finish(); err == nil {
			t.Error("finished though the peer has gone")
		}
	})
}

// A ping of the peer wakes the one who sends; once that has finished, it is answered by
// the one who reads.
func TestSenderAnswersPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, woken := &full{room: 1 << 20}, 0
		p, s := connect(t, defaults()), new(Sender)
		if err := p.conn.Share(s, link, nil, func() { woken++ }); err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				if _, err := p.conn.Read(); err != nil {
					return
				}
			}
		}()
		p.write(slices.Concat(raw(ping, "one"), raw(ping, "two")))
		synctest.Wait()
		if woken != 1 {
			t.Errorf("woken %d times", woken)
		}
		if all, err := s.Send(time.Now()); !all || err != nil || link.got.String() != "\x8a\x03two" {
			t.Errorf("%v, %v: sent %q", all, err, link.got.String())
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		p.write(raw(ping, "three"))
		p.want(opPong, "three")
		p.write(closing(1001, ""))
		if f, err := p.next(); err != nil || f.code() != 1001 {
			t.Errorf("answered with %v, %v", f, err)
		}
	})
}

// What was written to a slow peer gives it more time, until it has answered a ping.
func TestSenderBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := &full{room: 1 << 20}
		s := connect(t, defaults()).share(link)
		for range 5 * tcp.Rate / (8 << 10) {
			s.Put(nil, Frame(make([]byte, 8<<10)), nil)
			if all, err := s.Send(time.Now()); !all || err != nil {
				t.Fatal(all, err)
			}
		}
		s.Ping()
		if all, err := s.Send(time.Now()); !all || err != nil {
			t.Fatal(all, err)
		}
		if wait := time.Until(s.PongBy()); wait != defaults().Patience+5*time.Second {
			t.Errorf("it has %v for its answer", wait)
		}
		stall := func(want time.Duration) {
			t.Helper()
			link.room = 0
			s.Put(nil, Frame([]byte("x")), nil)
			if all, err := s.Send(time.Now()); all || err != nil || time.Until(s.By()) != want {
				t.Errorf("%v, %v, and %v to take it", all, err, time.Until(s.By()))
			}
			link.room = 1 << 20
			if all, err := s.Send(time.Now()); !all || err != nil {
				t.Errorf("%v, %v", all, err)
			}
		}
		stall(defaults().WriteTime + 5*time.Second)
		s.answered.Store(1)
		if !s.Alive(time.Now()) {
			t.Error("it has answered")
		}
		stall(defaults().WriteTime)
	})
}
