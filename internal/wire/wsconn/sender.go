package wsconn

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Link is a connection that is written without blocking, as one of package shard.
type Link interface {
	// Write takes what it can of p. If that is not all, Write must be called again with
	// the rest, which must not change until then.
	Write(p []byte) (n int, err error)
}

// Reader is a connection that is read without blocking, as one of package shard.
type Reader interface {
	// TryRead is Read of [net.Conn], except that it returns 0 and no error where that
	// would have to wait.
	TryRead(p []byte) (n int, err error)
}

// ErrIdle is returned by [Conn.Read] of a connection with a [Reader] when the peer has
// sent nothing after the last message. Read may be called again when there is something
// to read, and [Conn.Rest] meanwhile.
var ErrIdle = errors.New("websocket: nothing to read")

// Sender writes a connection without blocking. Its methods, and those of Conn that
// write, may be called by one goroutine at a time.
type Sender struct {
	conn *Conn
	link Link
	wake func()

	frame []byte    // what the link has not taken of the frame that is being sent
	size  int       // of all of it
	by    time.Time // the peer must have taken it; zero: the link was not full

	own   []byte // what follows of the message, after Room bytes
	large *large // nil: there is none
	op    byte   // of the next frame of a message

	asking   bool          // a ping is due
	pinging  bool          // it is in frame
	patience time.Duration // for its answer
	before   int64         // bytes written before it
	pongBy   time.Time     // the answer must have come; zero: none is waited for
	answered atomic.Uint64 // the number in the last pong

	echo     atomic.Pointer[CloseError] // the close frame of the peer, to be answered
	finished atomic.Bool                // Finish was called
}

// large are messages that take several frames, or stand beside another one, and that others
// share. A Sender rarely has one.
type large struct {
	text []byte // what follows of the message
	part []byte // the next one
	copy []byte // the next frame
}

// Share has all frames written by s, over link, from now on. wake is called, by any
// goroutine, when there is something to send that the caller of s does not know of: it
// must have [Sender.Send] called soon. r may be nil. Nobody may use the connection yet.
func (c *Conn) Share(s *Sender, link Link, r Reader, wake func()) error {
	s.conn, s.link, s.wake, s.op = c, link, wake, opText
	c.shared, c.src.try, c.br = s, r, nil
	c.answered, c.turn = nil, nil              // nobody waits for them
	return c.net.SetWriteDeadline(time.Time{}) // that of the handshake
}

// sender returns the Sender that writes; nil if those who have the turn do.
func (c *Conn) sender() *Sender {
	if c.shared == nil || c.shared.finished.Load() {
		return nil
	}
	return c.shared
}

// IsEarly reports whether something has come before Read was called first, so that
// nobody tells of it.
func (c *Conn) IsEarly() bool { return len(c.src.early) > 0 }

// Deaf is closed when Discard has returned.
func (c *Conn) Deaf() <-chan struct{} { return c.deaf.wait() }

var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// Rest gives back what reading needs. It is for the goroutine that reads, after
// [ErrIdle].
func (c *Conn) Rest() {
	c.br.Reset(nil)
	readers.Put(c.br)
	c.br = nil
}

// Put has messages sent: one that stands after [Room] bytes which s may change, or one
// that [Frame] has made a frame of; then another one, which others share. Those of the
// last Put must have been sent.
func (s *Sender) Put(withRoom, frame, part []byte) {
	switch {
	case frame == nil && len(withRoom) > Room:
		s.own = withRoom
	case frame != nil && len(Text(frame)) > Fragment:
		s.large = &large{text: Text(frame)}
	case frame != nil:
		s.frame = frame // nothing is being sent
		s.size = len(frame)
	}
	if len(part) > 0 {
		if s.large == nil {
			s.large = new(large)
		}
		s.large.part = part
	}
}

// Ping asks whether the peer is there, unless it was asked and has not answered.
func (s *Sender) Ping() { s.asking = s.asking || !s.pinging && s.pongBy.IsZero() }

// Send sends what there is to send, and reports whether it is all sent. Otherwise it must
// be called again when the link can take more, and at the time that [Sender.By] returns.
// The error is [os.ErrDeadlineExceeded] if the peer does not take what is sent.
func (s *Sender) Send(now time.Time) (all bool, err error) {
	for len(s.frame) > 0 || s.next(now) {
		n, err := s.link.Write(s.frame)
		s.frame = s.frame[n:]
		switch {
		case err != nil:
			return false, err
		case len(s.frame) == 0:
			s.took(now)
		case s.by.IsZero():
			s.by = now.Add(s.conn.backlog.Allow(s.conn.net, s.conn.opts.WriteTime, now))
			return false, nil
		case !now.Before(s.by):
			return false, os.ErrDeadlineExceeded
		default:
			return false, nil
		}
	}
	return true, nil
}

// took notes that the link has taken a frame.
func (s *Sender) took(now time.Time) {
	s.by, s.frame = time.Time{}, nil
	s.conn.backlog.Add(s.size, now)
	if s.pinging {
		s.pinging, s.pongBy = false, now.Add(s.patience)
	}
}

// next begins the next frame, if there is one: control frames go before the rest of a
// message.
func (s *Sender) next(now time.Time) bool {
	s.frame = nil
	switch p := s.conn.pong.Swap(nil); {
	case p != nil:
		s.frame = controlFrame(opPong, *p)
	case s.asking && s.op == opText && len(s.own) > Room && len(s.own) <= Room+Fragment:
		s.frame = append(s.fragment(), s.ping(now)...) // which a heartbeat has both of
	case s.asking:
		s.frame = s.ping(now)
	case s.own != nil:
		s.frame = s.fragment()
	case s.large != nil:
		s.frame = s.copyFragment()
	}
	s.size = len(s.frame)
	return s.size > 0
}

// ping returns the ping that is due.
func (s *Sender) ping(now time.Time) []byte {
	s.asking, s.pinging = false, true
	s.before, s.patience = s.conn.backlog.Written(), s.conn.opts.Patience+s.conn.backlog.Wait(now)
	return controlFrame(opPing, strconv.AppendUint(nil, s.conn.asked.Add(1), 10))
}

// fragment returns the next frame of own. What was sent of it makes room for a header.
func (s *Sender) fragment() []byte {
	n := min(len(s.own), Room+Fragment)
	frame := putHeader(s.own[:n], s.op, n == len(s.own))
	if n == len(s.own) {
		s.own, s.op = nil, opText
	} else {
		s.own, s.op = s.own[n-Room:], opContinue
	}
	return frame
}

// copyFragment returns the next frame of large.
func (s *Sender) copyFragment() []byte {
	m := s.large
	if m.text == nil {
		m.text, m.part = m.part, nil
	}
	if m.copy == nil {
		m.copy = make([]byte, Room+min(len(m.text), Fragment))
	}
	n := copy(m.copy[Room:], m.text)
	frame := putHeader(m.copy[:Room+n], s.op, n == len(m.text))
	if m.text, s.op = m.text[n:], opContinue; len(m.text) == 0 {
		m.text, m.copy, s.op = nil, nil, opText
		if m.part == nil {
			s.large = nil
		}
	}
	return frame
}

// Alive reports whether the peer is there, as far as it was asked: see [Conn.Ping]. It
// must be called at the time that [Sender.PongBy] returns, and may be earlier.
func (s *Sender) Alive(now time.Time) bool {
	if s.pongBy.IsZero() {
		return true
	}
	switch {
	case s.answered.Load() == s.conn.asked.Load():
		s.conn.backlog.Confirm(s.before)
		s.pongBy = time.Time{}
	case now.Before(s.pongBy):
	case s.conn.receiving.Load():
		s.pongBy = now.Add(s.conn.opts.Patience)
	default:
		return false
	}
	return true
}

// By returns when the peer must have taken the frame that is being sent; zero if the
// link takes all.
func (s *Sender) By() time.Time { return s.by }

// PongBy returns when the peer must have answered a ping; zero if it was not asked.
func (s *Sender) PongBy() time.Time { return s.pongBy }

// Settle sends the rest of the frame that is being sent, and reports whether that is
// done, or cannot be done. After it Finish may be called.
func (s *Sender) Settle() bool {
	if len(s.frame) > 0 {
		n, err := s.link.Write(s.frame)
		if s.frame = s.frame[n:]; err != nil {
			s.frame = nil
		}
	}
	return len(s.frame) == 0
}

// Finish sends the rest of what is to be sent, and blocks as [Conn.Write] does. After it
// s must not be used: Conn's own methods write. A close frame of the peer is answered,
// and nothing follows the answer.
func (s *Sender) Finish() error {
	c := s.conn
	c.turn = make(chan struct{}, 1)
	s.finished.Store(true)
	if told := s.echo.Load(); told != nil {
		return c.echoClose(told.Code)
	}
	for s.asking = false; s.next(time.Now()); {
		if err := c.send(s.frame, false); err != nil {
			return err
		}
	}
	return nil
}
