package socket

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/poll"
	"github.com/maravilla-realtime/realtime/internal/transport/shard"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// sharded is what a socket has that a shard writes. An idle one has no goroutine: a
// message, or its end, makes one that reads.
type sharded struct {
	task        *shard.Task // nil: it has goroutines of its own
	link        shard.Link
	out         wsconn.Sender
	pingAt      time.Time
	unsound     bool         // what was about to be said must not be said: see socket.close
	readsAtOnce bool         // what has come may be read by who tells of it
	room        atomic.Bool  // there may be: the connection can be written again
	reader      atomic.Int32 // see the constants
}

// What becomes of what a client sends.
const (
	resting  int32 = iota // nobody reads; the poller tells when there is something
	reading               // a goroutine reads
	recalled              // and something has come since it began to look
)

// begin has a shard drive the socket over conn, and returns.
func (s *socket) begin(conn net.Conn) {
	s.reader.Store(reading) // what comes before all is ready is not lost
	link, r, at := s.node.Shards.Duplex(conn, s)
	s.link, s.readsAtOnce = link, at
	var try wsconn.Reader
	if r != nil {
		try = r
	}
	if err := s.ws.Share(&s.out, link, try, s.task.Wake); err != nil {
		s.conn.Cancel(err)
	}
	s.pingAt = s.node.FirstPing(time.Now())
	s.expectHello()
	s.conn.OnAbort(s.drop)
	s.task.Start()
	if r == nil || s.ws.IsEarly() || !s.rest() {
		go s.readOn() // end waits for it
	}
}

// drop ends the connection at once. The poller does not tell of that: it forgets what is
// closed.
func (s *socket) drop() {
	s.ws.Drop()
	s.room.Store(true) // to find that out
	s.task.Wake()
}

// Ready implements [poll.Listener].
func (s *socket) Ready(ev poll.Events) {
	if ev&(poll.Writable|poll.Gone) != 0 {
		s.room.Store(true)
		s.task.Wake()
	}
	if ev&(poll.Readable|poll.Gone) == 0 {
		return
	}
	for {
		switch s.reader.Load() {
		case recalled:
			return
		case reading:
			if s.reader.CompareAndSwap(reading, recalled) {
				return
			}
		default:
			if s.reader.CompareAndSwap(resting, reading) {
				if idle := ev&poll.Gone == 0 && s.readsAtOnce && s.ws.TryPong() && s.rest(); !idle {
					go s.readOn() // end waits for it
				}
				return
			}
		}
	}
}

// readOn reads until there is nothing to read, or the connection ends.
func (s *socket) readOn() {
	for s.ctx.Err() == nil {
		if s.step(s.read); s.ctx.Err() == nil { // it is idle
			if s.ws.Rest(); s.rest() {
				return
			}
		}
	}
	s.ws.Discard() // for the closing handshake
}

// rest ends the reading, unless something has come or the connection is ending: then the
// caller goes on.
func (s *socket) rest() bool {
	if !s.reader.CompareAndSwap(reading, resting) {
		s.reader.Store(reading)
		return false
	}
	return s.ctx.Err() == nil || !s.reader.CompareAndSwap(resting, reading)
}

// Run implements [shard.Runner]: it is the writer.
func (s *socket) Run() (again time.Time, live bool) {
	if s.ctx.Err() == nil {
		s.unsound = !s.step(s.say)
	}
	if s.ctx.Err() == nil {
		return s.due(), true
	}
	if !s.out.Settle() {
		if by := s.out.By(); time.Now().Before(by) {
			return by, true
		}
		s.link.Close()
		if !s.out.Settle() {
			return time.Time{}, true // the link tells when it is
		}
	}
	go s.end() // Conns waits for it
	return time.Time{}, false
}

// due returns when there is something to do though nothing happens.
func (s *socket) due() time.Time {
	at := s.pingAt
	if by := s.out.By(); !by.IsZero() {
		at = by // pings wait as well
	}
	if by := s.out.PongBy(); !by.IsZero() && by.Before(at) {
		at = by
	}
	return at
}

// say sends what there is to say: answers, a batch of events, a part of a roster. What
// the client does not take is sent before anything else.
func (s *socket) say() error {
	now := time.Now()
	if !s.out.Alive(now) {
		s.link.Close() // nobody is there to say goodbye to
		return driver.ErrNoPong
	}
	if all, err := s.send(now); !all || err != nil {
		return err
	}
	if !now.Before(s.pingAt) {
		s.pingAt = driver.NextPing(s.pingAt, now, s.node.Heartbeat)
		s.session.Do(func() { s.session.Ping(now.UnixMilli()) })
		s.out.Ping()
	}
	s.buf = session.NewBuffer()
	if s.session.Fill(s.buf, session.Batch) {
		s.task.Wake() // and the others come first
	}
	s.out.Put(s.buf.WithRoom(), s.buf.Frame, s.buf.Part)
	_, err := s.send(now)
	return err
}

// send sends, and notes what was sent when it is all. A connection that was full is tried
// when it has room, not for each event that comes meanwhile.
func (s *socket) send(now time.Time) (all bool, err error) {
	if now.Before(s.out.By()) && !s.room.Swap(false) {
		return false, nil
	}
	all, err = s.out.Send(now)
	s.sent.Wait(&s.conn, !all)
	if all && s.buf != nil {
		s.told(now)
		s.buf.Release()
		s.buf = nil
	}
	return all, err
}

// finishSending sends what is left of what a shard has begun to send. Then the socket is
// written by one goroutine, which may block.
func (s *socket) finishSending() error {
	if s.task == nil {
		return nil
	}
	if err := s.out.Finish(); err != nil {
		return err
	}
	if s.buf != nil {
		s.told(time.Now())
	}
	return nil
}

// end ends the connection, when its task has ended.
func (s *socket) end() {
	s.sent.Wait(&s.conn, false)
	if s.reader.CompareAndSwap(resting, reading) {
		go s.readOn() // which only discards
	}
	s.step(func() error { return s.close(!s.unsound) })
	s.link.Close() // where nothing has closed it
	s.conn.Silence()
	<-s.ws.Deaf()
	s.settle()
	s.session.Close()
	s.remove()
}
